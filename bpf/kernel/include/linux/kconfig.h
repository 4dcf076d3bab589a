/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this by name before everything else, and asks for this one. */
#define CONFIG_BPF_SYSCALL 1
