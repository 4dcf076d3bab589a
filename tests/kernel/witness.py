"""A witness beside tcptrace's programs: in which threads' context hits of the tracepoints reach any BPF program.

    /usr/bin/python3 -I tests/kernel/witness.py

Two small programs on each tracepoint, since the kernel skips one that is running already, note the thread that was interrupted
or that called. Says `ready`, and then, for each line of input, the numbers of all threads that it has seen.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POINTS = ("inet_sock_set_state", "tcp_retransmit_skb", "tcp_retransmit_synack", "tcp_send_reset", "tcp_receive_reset")
TEXT = r"""
BPF_F_TABLE("hash", u32, u8, reached, 1 << 18, BPF_F_NO_PREALLOC);

static __always_inline int note(void)
{
	u32 thread = bpf_get_current_pid_tgid();
	u8 seen = 1;

	if (!reached.lookup(&thread))
		reached.update(&thread, &seen);
	return 0;
}

int first(struct bpf_raw_tracepoint_args *ctx) { return note(); }
int second(struct bpf_raw_tracepoint_args *ctx) { return note(); }
"""


def main() -> None:
    """Attach, and answer until the input ends."""
    os.environ["BCC_KERNEL_SOURCE"] = str(ROOT / "bpf" / "kernel")
    sys.path.append("/usr/lib/python3/dist-packages")
    from bcc import BPF, lib

    bpf = BPF(text=TEXT)
    for name in ("first", "second"):
        for point in POINTS:
            lib.bpf_attach_raw_tracepoint(bpf.load_func(name, BPF.RAW_TRACEPOINT).fd, point.encode())
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*(key.value for key in bpf["reached"]), flush=True)


if __name__ == "__main__":
    main()
