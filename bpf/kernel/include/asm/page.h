/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The unit in which bcc counts a ring's size (PAGE_BYTES in
 * tracer/kernel/programs.py), whatever the size of a page here.
 */
#define PAGE_SIZE 4096
