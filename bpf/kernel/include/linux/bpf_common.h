/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc brings its own copy of what this holds in a kernel tree. */
