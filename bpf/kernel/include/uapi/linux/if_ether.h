/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes this and uses nothing of it here. */
#include <linux/types.h>
