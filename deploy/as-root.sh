#!/usr/bin/env bash
# Runs a command as root where that can be had: as it is for root, through sudo where there is sudo, else without.
# Unprivileged, tcptrace says itself what it lacks, and the tests list what they skip: both say more than a refusal here.
# Python may write no bytecode meanwhile, since files that belong to root would get in the way of the checkout's owner.

set -euo pipefail
# shellcheck source=deploy/becoming-root.sh
source "$(dirname "$0")/becoming-root.sh"

if ! is_root && can_sudo; then
	exec sudo env PYTHONDONTWRITEBYTECODE=1 TCPTRACE_REQUIRE_KERNEL="${TCPTRACE_REQUIRE_KERNEL:-}" "$@"
fi
exec "$@"
