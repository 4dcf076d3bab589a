/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Who is traced: decided once, when a connection begins, before anything is
 * reserved. FILTER_… are predicates written into the program when a filter
 * was asked for, and gone when it was not; a map of settings, read at every
 * event, was the alternative.
 */

/* All but FILTER_NETNS. */
#if defined(FILTER_PORT) || defined(FILTER_ADDRESS) || defined(FILTER_ROLE) || \
	defined(FILTER_PID) || defined(FILTER_CGROUP)
#define FILTERED true
#else
#define FILTERED false
#endif

#ifndef FILTER_PORT
#define FILTER_PORT(port) true
#endif
#ifndef FILTER_ADDRESS
#define FILTER_ADDRESS(a) true
#endif
#ifndef FILTER_ROLE
#define FILTER_ROLE(role) true
#endif
#ifndef FILTER_NETNS
#define FILTER_NETNS(netns) true
#endif

#ifdef FILTER_PID
/*
 * What it accepts came to a listener that it holds. Its connect() runs in its context, and
 * that is the only moment at which the current process means anything: the
 * other side's steps run in it as well, when the network is this machine.
 */
static __always_inline bool pid_wanted(const void *sk, u8 role, bool connects)
{
	struct process caller = {};
	struct owner *owner;
	u64 listener;

	if (role == ROLE_SERVER) {
		owner = find_owner(sk, &listener);
		return owner &&
		       (owner->asked || owner->process.pid == FILTER_PID);
	}
	return connects && read_caller(&caller) && caller.pid == FILTER_PID;
}
#else
#define pid_wanted(sk, role, connects) true
#endif

#ifdef FILTER_CGROUP
/* The id of an ancestor, by its level below the root; 0: there is none. */
static __always_inline u64 ancestor_id(const void *cgroup, u32 level)
{
	const void *ancestor, *node;

	if (READ_AT(u32, cgroup, cgroup, level) < level)
		return 0;
	if (HAVE(cgroup, ancestor_ids))
		return READ_WORD((void *)cgroup + OFFSET(cgroup, ancestor_ids) +
				 8 * level);
	ancestor = (void *)READ_WORD((void *)cgroup +
				     OFFSET(cgroup, ancestors) + 8 * level);
	node = (void *)READ_AT(u64, ancestor, cgroup, kn);
	return READ_AT(u64, node, kernfs_node, id);
}

/* In the cgroup or below it: an ancestor at one of these levels is the one. */
static __always_inline bool cgroup_wanted(const void *sk)
{
	const void *cgroup = (void *)READ_AT(u64, sk, sock,
					     sk_cgrp_data__cgroup);

	for (u32 level = FILTER_CGROUP_LEVEL; level <= FILTER_CGROUP_LAST;
	     level++)
		if (ancestor_id(cgroup, level) == FILTER_CGROUP)
			return true;
	return false;
}
#else
#define cgroup_wanted(sk) true
#endif

#if defined(FILTER_PID) || defined(FILTER_CGROUP)
#define FILTER_NEEDS_SOCKET true
#else
#define FILTER_NEEDS_SOCKET false
#endif

/* All that needs no socket: a reset for a closed port has none. */
static __always_inline bool stray_wanted(const struct tuple *t, u8 role,
					 u32 netns)
{
	u16 port = role == ROLE_SERVER ? t->local_port : t->remote_port;

	return FILTER_ROLE(role) && FILTER_PORT(port) && FILTER_NETNS(netns) &&
	       (FILTER_ADDRESS(t->local) || FILTER_ADDRESS(t->remote));
}

static __always_inline bool wanted(const void *sk, const struct tuple *t,
				   u8 role, u32 netns, bool connects)
{
	return stray_wanted(t, role, netns) && pid_wanted(sk, role, connects) &&
	       cgroup_wanted(sk);
}
