# shellcheck shell=bash
# Whether root can be had, for the scripts beside this one, which source it.
# sudo asks for a password only where somebody sits at a terminal to type it, and is likely to be allowed: without this,
# a user who may not use sudo would be asked three times and then told off, before the unprivileged tests begin.

may_use_sudo() { id -nG | tr ' ' '\n' | grep -xE 'sudo|wheel|admin' >/dev/null; }

can_sudo() {
	command -v sudo >/dev/null || return
	sudo -n true 2>/dev/null && return
	[ -t 0 ] && may_use_sudo && sudo -v
}

is_root() { [ "$(id -u)" = 0 ]; }
can_become_root() { is_root || can_sudo; }
