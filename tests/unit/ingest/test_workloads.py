"""Known shapes of cgroup paths, each with where it comes from, and what is read out of it."""

from __future__ import annotations

import pytest

from tracer.ingest.workloads import Workload, workload

ID = "0123456789abcdef" * 4
OTHER = "f" * 64
SHORT = "0123456789ab"
UID = "7d3f2b1c-0000-1111-2222-333344445555"
UID_ = UID.replace("-", "_")
HASH = "b1e89a2fcc688644de3eb95aee8025ce"
"""A static pod's uid: a hash of its manifest."""


def container(**more: str) -> Workload:
    return Workload(SHORT, ID, **more)


def pod(uid: str = UID, **more: str) -> Workload:
    return Workload(SHORT, ID, uid, **more)


SHAPES = {
    # moby: daemon/daemon_unix.go and libcontainerd; runc: libcontainer/cgroups/systemd, `PREFIX-ID.scope` below a slice
    "Docker, systemd": (f"/system.slice/docker-{ID}.scope", container()),
    "Docker, cgroupfs": (f"/docker/{ID}", container()),
    "Docker, --cgroup-parent": (f"/batch.slice/docker-{ID}.scope", container()),
    "Docker in Docker": (f"/docker/{OTHER}/docker/{ID}", container()),
    "Docker in Docker, systemd": (f"/system.slice/docker-{OTHER}.scope/docker/{ID}", container()),
    "Docker, systemd inside": (f"/system.slice/docker-{ID}.scope/system.slice/nginx.service", container(unit="nginx.service")),
    "Docker, init's own cgroup": (f"/system.slice/docker-{ID}.scope/init.scope", container(unit="init.scope")),
    "Docker, rootless": (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
        container(unit="user@1000.service"),
    ),
    # containerd: internal/cri, getCgroupsPath: `SLICE:cri-containerd:ID` for systemd, `PARENT/ID` else
    "containerd, cgroupfs namespace": (f"/default/{ID}", container()),
    "nerdctl, systemd": (f"/system.slice/nerdctl-{ID}.scope", container()),
    "CRI of containerd, burstable, systemd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope",
        pod(),
    ),
    "CRI of containerd, guaranteed, systemd": (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", pod()),
    "CRI of containerd, cgroupfs": (f"/kubepods/besteffort/pod{UID}/{ID}", pod()),
    "CRI of containerd, guaranteed, cgroupfs": (f"/kubepods/pod{UID}/{ID}", pod()),
    # The drivers of kubelet and containerd differ: systemd's form as one directory
    "CRI of containerd, mixed drivers": (
        f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}",
        pod(unit="containerd.service"),
    ),
    # kubelet: pkg/kubelet/config/common.go, a static pod's UID is the hash of its manifest
    "static pod, systemd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{ID}.scope",
        pod(HASH),
    ),
    "static pod, cgroupfs": (f"/kubepods/burstable/pod{HASH}/{ID}", pod(HASH)),
    # cri-o: internal/config/cgmgr: `crio-ID.scope`, and `crio-conmon-ID.scope` for the monitor
    "CRI-O": (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{ID}.scope", pod()),
    "CRI-O, crun's sub-cgroup": (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container", pod()),
    "CRI-O, cgroupfs": (f"/kubepods/burstable/pod{UID}/crio-{ID}", pod()),
    "CRI-O's monitor": (
        f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope",
        Workload(f"crio-conmon-{ID}.scope", "", UID, f"crio-conmon-{ID}.scope"),
    ),
    "Docker below kubelet (cri-dockerd)": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/docker-{ID}.scope",
        pod(),
    ),
    # kind: kubelet's --cgroup-root=/kubelet, in a node that is a container
    "kind, systemd": (
        f"/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope",
        pod(),
    ),
    "kind, cgroupfs": (f"/docker/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{ID}", pod()),
    "kind, a static pod": (
        f"/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/"
        f"kubelet-kubepods-pod{HASH}.slice/cri-containerd-{ID}.scope",
        pod(HASH),
    ),
    "kind, the node's own kubelet": (
        f"/system.slice/docker-{ID}.scope/kubelet.slice/kubelet.service",
        container(unit="kubelet.service"),
    ),
    "kind with Podman": (
        f"/machine.slice/libpod-{OTHER}.scope/container/kubelet.slice/kubelet-kubepods.slice/"
        f"kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope",
        pod(),
    ),
    # A container that a pod's container started: the deepest counts, the pod stays
    "Docker in a pod": (f"/kubepods/burstable/pod{UID}/{OTHER}/docker/{ID}", pod()),
    # Podman puts them below machine.slice or the user's slice: libpod/container_internal_linux.go, pod_internal_linux.go
    "Podman": (f"/machine.slice/libpod-{ID}.scope/container", container()),
    "Podman, rootless": (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
        container(unit="user@1000.service"),
    ),
    "Podman, a pod of its own": (f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope", container()),
    "Podman, nothing but a pod": (
        f"/machine.slice/machine-libpod_pod_{OTHER}.slice",
        Workload(f"machine-libpod_pod_{OTHER}.slice"),
    ),
    "Podman, cgroupfs": (f"/libpod_parent/libpod-{ID}", container()),
    "Podman's monitor": (
        f"/machine.slice/libpod-conmon-{ID}.scope",
        Workload(f"libpod-conmon-{ID}.scope", unit=f"libpod-conmon-{ID}.scope"),
    ),
    "Podman, Quadlet": (f"/system.slice/web.service/libpod-payload-{ID}", container(unit="web.service")),
    # lxc: src/lxc/cgroups/cgfsng.c, lxc.payload.NAME since 4.0, lxc.payload/NAME in 3.1, lxc/NAME before
    "LXC": ("/lxc.payload.web1/system.slice/nginx.service", Workload("web1", unit="nginx.service")),
    "LXC 3.1": ("/lxc.payload/web1/system.slice/nginx.service", Workload("web1", unit="nginx.service")),
    "LXC 3.0, Proxmox 6": ("/lxc/101/ns/system.slice/cron.service", Workload("101", unit="cron.service")),
    "LXD or Incus, a project": ("/lxc.payload.prod_web1", Workload("prod_web1")),
    "Docker in LXC": (f"/lxc.payload.web1/system.slice/docker-{ID}.scope", container()),
    "LXC in Docker": (f"/docker/{OTHER}/lxc.payload.web1", Workload("web1")),
    "LXC's monitor": ("/lxc.monitor.web1", Workload()),
    # Amazon ECS: docker's cgroup parent is /ecs/TASK or ecstasks-TASK.slice
    "ECS, cgroupfs": (f"/ecs/{HASH}/{ID}", container()),
    "ECS, systemd": (f"/ecstasks.slice/ecstasks-{HASH}.slice/docker-{ID}.scope", container()),
    # The manual pages systemd.unit, systemd.slice and systemd-nspawn
    "a service": ("/system.slice/nginx.service", Workload("nginx.service", unit="nginx.service")),
    "a service with cgroups of its own": (
        "/system.slice/nginx.service/workers",
        Workload("nginx.service", unit="nginx.service"),
    ),
    "a service of a template": (
        "/system.slice/system-postgresql.slice/postgresql@15-main.service",
        Workload("postgresql@15-main.service", unit="postgresql@15-main.service"),
    ),
    "a session": ("/user.slice/user-1000.slice/session-2.scope", Workload("session-2.scope", unit="session-2.scope")),
    "a user's service": (
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app.scope",
        Workload("app.scope", unit="app.scope"),
    ),
    "nspawn": (
        "/machine.slice/systemd-nspawn@web.service/payload",
        Workload("systemd-nspawn@web.service", unit="systemd-nspawn@web.service"),
    ),
    "nspawn, systemd inside": (
        "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
        Workload("systemd-nspawn@web.service", unit="nginx.service"),
    ),
    "nspawn, from the command line": (
        r"/machine.slice/machine-web\x2d1.scope/payload/init.scope",
        Workload(r"machine-web\x2d1.scope", unit="init.scope"),
    ),
    "Docker in nspawn": (f"/machine.slice/machine-web.scope/payload/docker/{ID}", container(unit="machine-web.scope")),
    "nspawn in Docker": (
        f"/docker/{ID}/machine.slice/machine-web.scope/payload",
        Workload("machine-web.scope", unit="machine-web.scope"),
    ),
    # libvirt takes the name from systemd-machined, in src/util/vircgroup.c
    "a virtual machine": (
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
        Workload(r"machine-qemu\x2d1\x2dvm.scope", unit=r"machine-qemu\x2d1\x2dvm.scope"),
    ),
    "systemd itself": ("/init.scope", Workload("init.scope", unit="init.scope")),
    "a user's manager": (
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        Workload("user@1000.service", unit="user@1000.service"),
    ),
    "k3s": (f"/system.slice/k3s.service/kubepods/burstable/pod{UID}/{ID}", pod(unit="k3s.service")),
    "ctr of containerd": (f"/k8s.io/{ID}", container()),
    "rootless Podman, a pod of its own": (
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{OTHER}.slice/libpod-{ID}.scope/container",
        container(unit="user@1000.service"),
    ),
    "a slice alone": ("/batch.slice/batch-night.slice", Workload("batch-night.slice")),
    "a mounted layer": (
        f"/system.slice/var-lib-docker-overlay2-{ID}-merged.mount",
        Workload(f"var-lib-docker-overlay2-{ID}-merged.mount", unit=f"var-lib-docker-overlay2-{ID}-merged.mount"),
    ),
    # not what they look like
    "65 digits": (f"/odd/{ID}0", Workload()),
    "a pod's uid cut short": (f"/kubepods/pod{UID[:-1]}/{ID}", container()),
    "a directory of no system": ("/odd", Workload()),
    "the root": ("/", Workload()),
    "nothing": ("", Workload()),
    "a suffix without a name": ("/.service", Workload()),
    "bytes that are no text": ("/a\udcffb.service", Workload(r"a\xffb.service", unit=r"a\xffb.service")),
    "a terminal's control sequence": ("/\x1b[2J.service", Workload(r"\x1b[2J.service", unit=r"\x1b[2J.service")),
    "systemd's own escapes": (r"/dev-disk\x2dby.mount", Workload(r"dev-disk\x2dby.mount", unit=r"dev-disk\x2dby.mount")),
}


@pytest.mark.parametrize(("path", "expected"), SHAPES.values(), ids=SHAPES)
def test_a_path_says_whose_the_cgroup_is(path: str, expected: Workload) -> None:
    assert workload(path) == expected
