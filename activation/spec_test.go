package activation_test

import (
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
)

func TestSpecSaysNameNetworkAndAddress(t *testing.T) {
	longest := strings.Repeat("n", 255)
	deepest := "/" + strings.Repeat("p", 106)
	for _, c := range []struct{ text, name, network, address string }{
		{"tcp::80", "", "tcp", ":80"},
		{"tcp::0", "", "tcp", ":0"},
		{"tcp::65535", "", "tcp", ":65535"},
		{"http=tcp::80", "http", "tcp", ":80"},
		{"tcp:127.0.0.1:80", "", "tcp", "127.0.0.1:80"},
		{"tcp:[::1]:80", "", "tcp", "[::1]:80"},
		{"tcp:[fe80::1%lo]:80", "", "tcp", "[fe80::1%lo]:80"},
		{"tcp4::80", "", "tcp4", ":80"},
		{"tcp4:0.0.0.0:80", "", "tcp4", "0.0.0.0:80"},
		{"tcp6::80", "", "tcp6", ":80"},
		{"tcp6:[::]:80", "", "tcp6", "[::]:80"},
		{"udp:[::1]:53", "", "udp", "[::1]:53"},
		{"udp4:127.0.0.1:53", "", "udp4", "127.0.0.1:53"},
		{"udp6:[::1]:53", "", "udp6", "[::1]:53"},
		{"unix:/run/app.sock", "", "unix", "/run/app.sock"},
		{"unix:@name", "", "unix", "@name"},
		{"unixgram:/run/log", "", "unixgram", "/run/log"},
		{"unixpacket:@p", "", "unixpacket", "@p"},
		{"unix:" + deepest, "", "unix", deepest},
		{"unix:/run/a=b:c,d", "", "unix", "/run/a=b:c,d"},
		{"a=unix:/run/b=c", "a", "unix", "/run/b=c"},
		{"a b~=tcp::80", "a b~", "tcp", ":80"},
		{"tcp=tcp::80", "tcp", "tcp", ":80"},
		{"unknown=tcp::80", "unknown", "tcp", ":80"},
		{longest + "=tcp::80", longest, "tcp", ":80"},
		{"vsock:2:1024", "", "vsock", "2:1024"},
		{"vsock::1024", "", "vsock", ":1024"},
		{"vsockgram:4294967295:4294967295", "", "vsockgram", "4294967295:4294967295"},
		{"netlink:kobject-uevent:1", "", "netlink", "kobject-uevent:1"},
		{"netlink:0", "", "netlink", "0"},
		{"fifo:/run/f", "", "fifo", "/run/f"},
		{"fifo:/" + strings.Repeat("p", 200), "", "fifo", "/" + strings.Repeat("p", 200)},
		{"special:/dev/null?writable=yes", "", "special", "/dev/null"},
		{"http=tcp::80?backlog=4096&reuseport=yes", "http", "tcp", ":80"},
		{"a?b=tcp::80", "a?b", "tcp", ":80"},
		{"unix:/run/s?mode=0660&user=www-data&group=adm&directorymode=755", "", "unix", "/run/s"},
		{"tcp:[::1]:80?v6only=yes&keepalivetime=2m&tos=low-delay&device=eth0", "", "tcp", "[::1]:80"},
	} {
		s, err := activation.ParseSpec(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if s.Name != c.name || s.Network != c.network || s.Address != c.address {
			t.Errorf("%q: got name %q, network %q, address %q, want %q, %q, %q",
				c.text, s.Name, s.Network, s.Address, c.name, c.network, c.address)
		}
		if got := s.String(); got != c.text {
			t.Errorf("%q: printed as %q", c.text, got)
		}
	}
}

// TestBadSpecIsRefusedWithTheReason: invariant I10, for specs.
func TestBadSpecIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", `unknown network ""`},
		{"a word", "http", `unknown network "http"`},
		{"a port alone", "80", `unknown network "80"`},
		{"unknown network", "sctp::80", `unknown network "sctp"`},
		{"network in capitals", "TCP::80", `unknown network "TCP"`},
		{"name and unknown network", "http=sctp::80", `unknown network "sctp"`},
		{"blank before", " tcp::80", `unknown network " tcp"`},
		{"empty name", "=tcp::80", "empty name"},
		{"name with colon", "a:b=tcp::80", `':' is not allowed`},
		{"name with control character", "a\n=tcp::80", "is not allowed"},
		{"name beyond ASCII", "é=tcp::80", "is not allowed"},
		{"name too long", strings.Repeat("n", 256) + "=tcp::80", "name of 256 bytes"},
		{"no address", "tcp", "missing address"},
		{"empty address", "tcp:", "missing address"},
		{"named without address", "http=tcp", "missing address"},
		{"no port", "tcp:127.0.0.1", "missing port"},
		{"port alone", "tcp:80", "missing port"},
		{"empty port", "tcp:127.0.0.1:", `port ""`},
		{"port out of range", "tcp::65536", `port "65536"`},
		{"negative port", "tcp::-1", `port "-1"`},
		{"signed port", "tcp::+1", `port "+1"`},
		{"port by name", "tcp::http", `port "http"`},
		{"host name", "tcp:localhost:80", "no IP address"},
		{"host with blank", "tcp:127.0.0.1 :80", "no IP address"},
		{"IPv6 without brackets", "tcp:::1:80", "brackets"},
		{"IPv4 in brackets", "tcp:[127.0.0.1]:80", "brackets"},
		{"unclosed bracket", "tcp:[::1:80", `missing "]"`},
		{"empty brackets", "tcp:[]:80", "no IP address"},
		{"IPv6 for tcp4", "tcp4:[::1]:80", "does not fit network tcp4"},
		{"IPv4 for tcp6", "tcp6:127.0.0.1:80", "does not fit network tcp6"},
		{"IPv6 for udp4", "udp4:[::1]:80", "does not fit network udp4"},
		{"relative path", "unix:run/app.sock", "is not absolute"},
		{"path is a directory", "unix:/run/", "is a directory"},
		{"path too long", "unix:/" + strings.Repeat("p", 107), "path of 108 bytes"},
		{"abstract name too long", "unix:@" + strings.Repeat("p", 107), "path of 108 bytes"},
		{"empty abstract name", "unix:@", "empty abstract name"},
		{"NUL in path", "unix:/run/a\x00b", "NUL"},
		{"NUL in abstract name", "unix:@a\x00b", "NUL"},
		{"vsock without port", "vsock:1024", "missing port"},
		{"vsock CID by name", "vsock:host:1", `CID "host" is no number`},
		{"vsock port out of range", "vsock::4294967296", `port "4294967296" is no number`},
		{"netlink family", "netlink:nosuch", `netlink family "nosuch"`},
		{"netlink without family", "netlink::1", `netlink family ""`},
		{"netlink groups", "netlink:route:x", `netlink groups "x" is no number`},
		{"relative FIFO", "fifo:f", "is not absolute"},
		{"abstract FIFO", "fifo:@f", "is not absolute"},
		{"FIFO is a directory", "fifo:/run/", "is a directory"},
	} {
		checkBadSpec(t, c.name, c.text, c.want)
	}
}

// TestBadOptionIsRefusedWithTheReason: invariant I10, for the options of specs.
func TestBadOptionIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no options", "tcp::80?", `option "" has no value`},
		{"empty option", "tcp::80?backlog=1&", `option "" has no value`},
		{"question mark in a path", "unix:/run/a?b", `option "b" has no value; hint: ?KEY=VALUE, and a path cannot have a "?"`},
		{"unknown option", "tcp::80?backlg=1", `unknown option "backlg"; hint: backlog`},
		{"option of systemd", "tcp::80?ReusePort=yes", `unknown option "ReusePort"; hint: reuseport`},
		{"option twice", "tcp::80?backlog=1&backlog=2", "option backlog comes twice"},
		{"option of another network", "unix:/run/a?nodelay=yes", "option nodelay does not apply to unix"},
		{"mode of an abstract name", "unix:@a?mode=0600", "option mode does not apply to an abstract name"},
		{"directory of an abstract name", "unix:@a?directorymode=0700", "option directorymode does not apply to an abstract name"},
		{"v6only with IPv4", "tcp:127.0.0.1:80?v6only=yes", "option v6only does not apply to an IPv4 address"},
		{"v6only with tcp6", "tcp6::80?v6only=yes", "option v6only does not apply to tcp6"},
		{"backlog without connections", "udp::80?backlog=1", "option backlog does not apply to udp"},
		{"UDP-Lite over TCP", "tcp::80?protocol=udplite", "option protocol: udplite does not apply to tcp"},
		{"MPTCP over UDP", "udp::80?protocol=mptcp", "option protocol: mptcp does not apply to udp"},
		{"unknown protocol", "tcp::80?protocol=tls", `option protocol: "tls" is neither mptcp`},
		{"backlog", "tcp::80?backlog=-1", `option backlog: "-1" is no number`},
		{"boolean", "tcp::80?nodelay=maybe", `option nodelay: "maybe" is neither yes nor no`},
		{"size", "tcp::80?rcvbuf=1k", `option rcvbuf: "1k" is no size`},
		{"fraction of a second", "tcp::80?keepalivetime=1500ms", `option keepalivetime: "1500ms" is no whole number of seconds`},
		{"too short", "tcp::80?keepalivetime=0", `option keepalivetime: "0" is no duration`},
		{"mode", "unix:/run/a?mode=888", `option mode: "888" is no mode in octal; hint: 0660`},
		{"user", "unix:/run/a?user=a:b", `option user: "a:b" is no name of a user or group`},
		{"device", "tcp::80?device=a/b", `option device: "a/b" is no name of an interface`},
		{"long device", "tcp::80?device=sixteen-letters-", `option device: "sixteen-letters-" is no name of at most 15 letters`},
		{"algorithm", "tcp::80?congestion=", `option congestion: "" is no name`},
		{"tos", "tcp::80?tos=256", `option tos: "256" is neither low-delay`},
		{"mark", "tcp::80?mark=0xg", `option mark: "0xg" is no number`},
		{"timestamps", "udp::80?timestamping=ms", `option timestamping: "ms" is neither off`},
	} {
		checkBadSpec(t, c.name, c.text, c.want)
	}
}

func checkBadSpec(t *testing.T, name, text, want string) {
	t.Helper()
	_, err := activation.ParseSpec(text)
	switch {
	case err == nil:
		t.Errorf("%s: %q was taken", name, text)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: got %q, want %q in it", name, err, want)
	case strings.Contains(err.Error(), "\n"):
		t.Errorf("%s: %q is more than one line", name, err)
	}
}

// FuzzParseSpec holds ParseSpec to its promise that a text is refused or means
// what it says: what was taken prints as it was, and parses to the same. What was refused is so in
// one line. Invariant I10.
func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{"tcp::80", "http=tcp:127.0.0.1:8080", "udp:[fe80::1%lo]:53", "unix:/run/a=b",
		"a=unixpacket:@b", "=tcp::80", "tcp4:[::1]:1", "a:b=tcp::80", "tcp:[", "unix:@", "tcp:::1:80", "tcp:a\nb", "unix:a\x00b",
		"vsock:2:1", "vsock::", "netlink:audit:3", "fifo:/f", "special:/dev/x?writable=1", "tcp::80?backlog=4096&reuseport=yes",
		"tcp::80?", "tcp::80?&", "tcp::80?a\nb=c", "unix:/s?mode=0660&user=a\nb", "a?b=tcp::1?ttl=1", "tcp::80?tos=0x10&device=\x00", "udp::1?rcvbuf=1G&mark=0xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := activation.ParseSpec(text)
		if err != nil {
			if s := err.Error(); strings.ContainsAny(s, "\n\r\x00") {
				t.Fatalf("%q: the error is %q", text, s)
			}
			return
		}
		if got := s.String(); got != text {
			t.Fatalf("%q prints as %q", text, got)
		}
		if again, err := activation.ParseSpec(s.String()); err != nil || again != s {
			t.Fatalf("%q parses to %#v and then to %#v, %v", text, s, again, err)
		}
	})
}
