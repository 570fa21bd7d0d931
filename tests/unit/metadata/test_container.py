"""Container ids, from control group paths as the engines write them."""

from __future__ import annotations

import pytest

from otel_ebpf.metadata.container import from_cgroup, from_mountinfo

ID = "8c4d6bf9a1" * 6 + "0a1b"
OTHER = "f" * 64
POD = "2f5e2d5c-1a2b-4c3d-8e9f-001122334455"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"0::/system.slice/docker-{ID}.scope", {"container.id": ID}),
        (f"12:memory:/docker/{ID}\n11:cpu:/docker/{ID}", {"container.id": ID}),
        (f"0::/../../docker-{ID}.scope/init.scope", {"container.id": ID}),
        (f"0::/machine.slice/libpod-{ID}.scope/container", {"container.id": ID}),
        (f"0::/machine.slice/libpod-conmon-{ID}.scope", {}),
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-"
            f"pod{POD.replace('-', '_')}.slice/cri-containerd-{ID}.scope",
            {"container.id": ID, "k8s.pod.uid": POD},
        ),
        (f"1:name=systemd:/kubepods/pod{POD}/crio-{ID}", {"container.id": ID, "k8s.pod.uid": POD}),
        (f"0::/docker/{OTHER}/docker/{ID}", {"container.id": ID}),
        (f"1:x:/ecs/task/{'a' * 32}-123456", {"container.id": f"{'a' * 32}-123456"}),
        ("0::/user.slice/user-0.slice/session-1.scope", {}),
        (f"0::/x/{ID}ab", {}),
        ("garbage", {}),
        ("", {}),
    ],
)
def test_control_groups(text: str, expected: dict[str, str]) -> None:
    assert from_cgroup(text) == expected


def test_mounts_tell_where_the_group_is_hidden() -> None:
    line = f"700 1 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/a rw"
    elsewhere = line.replace("/etc/hostname", "/mnt/x")
    assert from_mountinfo(line) == {"container.id": ID}
    assert from_mountinfo(f"{elsewhere}\nshort line\n") == {}
