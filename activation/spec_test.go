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
	} {
		_, err := activation.ParseSpec(c.text)
		if err == nil {
			t.Errorf("%s: %q was taken", c.name, c.text)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want %q in it", c.name, err, c.want)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is more than one line", c.name, err)
		}
	}
}

// FuzzParseSpec holds ParseSpec to its promise that a text is refused or means
// what it says: what was taken prints as it was, and parses to the same. What was refused is so in
// one line. Invariant I10.
func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{"tcp::80", "http=tcp:127.0.0.1:8080", "udp:[fe80::1%lo]:53", "unix:/run/a=b",
		"a=unixpacket:@b", "=tcp::80", "tcp4:[::1]:1", "a:b=tcp::80", "tcp:[", "unix:@", "tcp:::1:80", "tcp:a\nb", "unix:a\x00b"} {
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
