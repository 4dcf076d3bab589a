/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Who is traced: decided once, when a connection begins, before anything is
 * reserved. FILTER_… are predicates written into the program when a filter
 * was asked for, and gone when it was not; a map of settings, read at every
 * event, was the alternative.
 */

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
 * What it accepts came to its listener. Its connect() runs in its context, and
 * that is the only moment at which the current process means anything: the
 * other side's steps run in it as well, when the network is this machine.
 */
static __always_inline bool pid_wanted(u32 netns, u8 role, u16 local_port,
				       bool connects)
{
	u64 key = listener_key(netns, local_port);
	struct owner *owner = listeners.lookup(&key);

	if (role == ROLE_SERVER)
		return owner && owner->pid == FILTER_PID;
	return connects && bpf_get_current_pid_tgid() >> 32 == FILTER_PID;
}
#else
#define pid_wanted(netns, role, local_port, connects) true
#endif

#ifdef FILTER_CGROUP
/* In the cgroup or below it: the ancestor at its level is the one. */
static __always_inline bool cgroup_wanted(const void *sk)
{
	const void *cgroup = (void *)READ(u64, sk, sock, sk_cgrp_data__cgroup);
	const void *ancestor, *node;

	if (READ(u32, cgroup, cgroup, level) < FILTER_CGROUP_LEVEL)
		return false;
	if (HAVE(cgroup, ancestor_ids)) {
		u64 id = 0;

		bpf_probe_read_kernel(&id, sizeof(id),
				      (void *)cgroup +
					      OFFSET(cgroup, ancestor_ids) +
					      8 * FILTER_CGROUP_LEVEL);
		return id == FILTER_CGROUP;
	}
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
			      (void *)cgroup + OFFSET(cgroup, ancestors) +
				      8 * FILTER_CGROUP_LEVEL);
	node = (void *)READ(u64, ancestor, cgroup, kn);
	return READ(u64, node, kernfs_node, id) == FILTER_CGROUP;
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
	return stray_wanted(t, role, netns) &&
	       pid_wanted(netns, role, t->local_port, connects) &&
	       cgroup_wanted(sk);
}
