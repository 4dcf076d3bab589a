/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc asks; no program here depends on a version. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
