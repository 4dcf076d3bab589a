/* SPDX-License-Identifier: GPL-2.0-only */
/* For bcc's per-page perf buffers, which no program here uses. */
#define PAGE_SIZE 4096
