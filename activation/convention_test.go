package activation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestConventionsSayWhichDescriptors(t *testing.T) {
	for _, c := range []struct {
		convention Convention
		env        []string
		want       []int
	}{
		{"gunicorn", []string{"GUNICORN_FD=5,6", "GUNICORN_PID=7"}, []int{5, 6}},
		{"gunicorn", []string{"GUNICORN_PID=7"}, nil},
		{"nghttpx", []string{"NGHTTPX_ACCEPT_1=tcp,8", "NGHTTPX_ACCEPT_2=unix,9,/run/a,b", "NGHTTPX_ACCEPT_4=tcp,3"}, []int{8, 9}},
		{"nginx", []string{"NGINX=6;7;"}, []int{6, 7}},
		{"nginx", []string{"NGINX="}, nil},
		{"php-fpm", []string{"FPM_SOCKETS=127.0.0.1:9000=7,/run/a=b=8", "FPM_SOCKETS_1=[::1]:9000=9", "FPM_SOCKETS_3=x=3"}, []int{7, 8, 9}},
		{"server-starter", []string{"SERVER_STARTER_PORT=80=3;127.0.0.1:81=4;[::1]:82=5;/run/a=b=6", "SERVER_STARTER_GENERATION=2"}, []int{3, 4, 5, 6}},
		{"server-starter", []string{"SERVER_STARTER_PORT="}, nil},
		{"unicorn", []string{"UNICORN_FD=4"}, []int{4}},
	} {
		got, err := c.convention.fds(lookupIn(c.env...))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q: got %d, %v, want %d", c.convention, c.env, got, err, c.want)
		}
	}
	for _, c := range conventions {
		if got, err := c.name.fds(lookupIn()); err != nil || got != nil {
			t.Errorf("%s without variables: got %d, %v, want none", c.name, got, err)
		}
	}
}

// TestMalformedConventionIsRefusedByVariable: invariant I10, for the environment.
func TestMalformedConventionIsRefusedByVariable(t *testing.T) {
	for _, c := range []struct {
		convention Convention
		entry      string
		want       string
	}{
		{"gunicorn", "GUNICORN_FD=5,", `GUNICORN_FD="5,": "" is no descriptor`},
		{"gunicorn", "GUNICORN_FD=5 6", `"5 6" is no descriptor`},
		{"gunicorn", "GUNICORN_FD=-1", `"-1" is no descriptor`},
		{"gunicorn", "GUNICORN_FD=+5", `"+5" is no descriptor`},
		{"gunicorn", "GUNICORN_FD=1048577", `"1048577" is no descriptor`},
		{"gunicorn", "GUNICORN_FD=2", "descriptor 2 is for input or output"},
		{"gunicorn", "GUNICORN_FD=5,5", "descriptor 5 comes twice"},
		{"nghttpx", "NGHTTPX_ACCEPT_1=tcp", `NGHTTPX_ACCEPT_1="tcp" is neither`},
		{"nghttpx", "NGHTTPX_ACCEPT_1=unix,3", `NGHTTPX_ACCEPT_1="unix,3" is neither`},
		{"nghttpx", "NGHTTPX_ACCEPT_1=tcp,x", `NGHTTPX_ACCEPT_1="tcp,x": "x" is no descriptor`},
		{"nginx", "NGINX=3;4", `NGINX="3;4" does not end with ";"`},
		{"nginx", "NGINX=3;x;", `"x" is no descriptor`},
		{"php-fpm", "FPM_SOCKETS=9000", `FPM_SOCKETS="9000": "" is no descriptor`},
		{"server-starter", "SERVER_STARTER_PORT=80", `SERVER_STARTER_PORT="80": "" is no descriptor`},
		{"server-starter", "SERVER_STARTER_PORT=80=0", "descriptor 0 is for input or output"},
		{"server-starter", "SERVER_STARTER_PORT=80=3;81=3", "descriptor 3 comes twice"},
		{"unicorn", "UNICORN_FD=a\nb", `UNICORN_FD="a\nb"`},
	} {
		fds, err := c.convention.fds(lookupIn(c.entry))
		if err == nil {
			t.Errorf("%s: %q was taken as %d", c.convention, c.entry, fds)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q: got %q, want %q in it", c.convention, c.entry, err, c.want)
		}
	}
}

func TestConventionsAreWrittenAsTheirServersReadThem(t *testing.T) {
	sockets := []bound{
		{fd: 3, address: "0.0.0.0:80"},
		{fd: 4, address: "[::]:80"},
		{fd: 6, address: "127.0.0.1:53", datagram: true},
		{fd: 7, address: "/run/app.sock", unix: true},
	}
	for convention, want := range map[Convention][]string{
		"nghttpx":        {"NGHTTPX_ACCEPT_1=tcp,3", "NGHTTPX_ACCEPT_2=tcp,4", "NGHTTPX_ACCEPT_3=unix,7,/run/app.sock"},
		"nginx":          {"NGINX=3;4;6;7;"},
		"php-fpm":        {"FPM_SOCKETS=0.0.0.0:80=3,[::]:80=4,/run/app.sock=7"},
		"server-starter": {"SERVER_STARTER_PORT=0.0.0.0:80=3;[::]:80=4;/run/app.sock=7", "SERVER_STARTER_GENERATION=5"},
	} {
		got, err := convention.entry().format(sockets, 5)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", convention, got, err, want)
		}
	}
	for _, c := range conventions {
		_, err := ParseExport(string(c.name))
		if read := c.format != nil; read != (err == nil) || read != (c.readers != "") {
			t.Errorf("%s: is read: %v, by %q, and --export: %v", c.name, read, c.readers, err)
		}
	}
}

// TestPathThatAConventionCannotSayIsRefused: the server would look for another one.
func TestPathThatAConventionCannotSayIsRefused(t *testing.T) {
	for convention, paths := range map[Convention][]string{
		"php-fpm":        {"/run/a,b", "/run/a=b", "/run/a:b"},
		"server-starter": {"/run/a;b", "/run/a=b"},
	} {
		for _, path := range paths {
			got, err := convention.entry().format([]bound{{fd: 3, name: "app", unix: true, address: path}}, 1)
			if want := "socket app: "; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %s: got %q, %v, want it refused", convention, path, got, err)
			}
		}
	}
}

func TestVariablesOfAConventionAreItsOwn(t *testing.T) {
	for variable, want := range map[string]Convention{
		"NGINX": "nginx", "NGINX_": "", "GUNICORN_PID": "gunicorn", "NGHTTPX_ORIG_PID": "nghttpx", "NGHTTPX_ACCEPT_12": "nghttpx",
		"NGHTTPX_ACCEPT_": "", "NGHTTPX_ACCEPT_x": "", "FPM_SOCKETS": "php-fpm", "FPM_SOCKETS_2": "php-fpm", "FPM_SOCKETS_OF": "",
		"SERVER_STARTER_GENERATION": "server-starter", "SERVER_STARTER_PORTS": "", "LISTEN_FDS": "",
	} {
		for _, c := range conventions {
			if got := c.name.Owns(variable); got != (c.name == want) {
				t.Errorf("%s owns %s: got %v", c.name, variable, got)
			}
		}
	}
}

func TestConventionsAreGivenByName(t *testing.T) {
	for _, c := range []struct {
		text  string
		parse func(string) ([]Convention, error)
		want  string
	}{
		{"nginx", ParseExport, "[nginx]"},
		{"server-starter,nginx", ParseExport, "[server-starter nginx]"},
		{"", ParseExport, "[]"},
		{"unicorn", ParseExport, `"unicorn" is not offered; hint: nghttpx, nginx, php-fpm, server-starter`},
		{"nginx,", ParseExport, `"" is not offered; hint: nghttpx, nginx, php-fpm, server-starter`},
		{"nginx,unicorn", ParseImport, "[nginx unicorn]"},
		{"einhorn", ParseImport, `"einhorn" is not offered; hint: gunicorn, nghttpx, nginx, php-fpm, server-starter, unicorn`},
	} {
		all, err := c.parse(c.text)
		got := fmt.Sprint(all)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

// FuzzConvention: whatever the variables of a convention hold, they are refused in one
// line, or mean descriptors that are the same when a server's own way of writing has
// them: invariant I10.
func FuzzConvention(f *testing.F) {
	for i, seed := range []struct{ one, two string }{
		{"5,6", "7"}, {"tcp,3", "unix,4,/run/a,b"}, {"3;4;", ""}, {"127.0.0.1:9000=3,/a=b=4", "[::1]:1=5"},
		{"80=3;127.0.0.1:81=4;/run/a=5", "1"}, {"4", ""},
	} {
		f.Add(uint8(i), seed.one, seed.two)
	}
	f.Add(uint8(4), "=3;=", "")
	f.Add(uint8(2), ";3;", "")
	f.Add(uint8(1), "unix,3,", "tcp,3")
	f.Add(uint8(3), "a=3,", "a\nb=1")
	f.Fuzz(func(t *testing.T, kind uint8, one, two string) {
		c := conventions[int(kind)%len(conventions)]
		var env []string
		for i, value := range []string{one, two} {
			if i < len(c.variables) {
				env = append(env, strings.Replace(c.variables[i], "#", "1", 1)+"="+value)
			}
		}
		if c.name == "nghttpx" {
			env[1] = "NGHTTPX_ACCEPT_2=" + two
		}
		fds, err := c.name.fds(lookupIn(env...))
		if err != nil {
			if s := err.Error(); strings.ContainsAny(s, "\n\r\x00") {
				t.Fatalf("%s: %q: the error is %q", c.name, env, s)
			}
			return
		}
		again, err := c.name.fds(lookupIn(c.print(fds)...))
		if err != nil || !slices.Equal(again, fds) {
			t.Fatalf("%s: %q is %d, and then %d, %v", c.name, env, fds, again, err)
		}
	})
}

// print is what passes on these descriptors.
func (c convention) print(fds []int) []string {
	var sockets []bound
	var numbers []string
	for _, fd := range fds {
		sockets = append(sockets, bound{fd: fd, address: "127.0.0.1:80"})
		numbers = append(numbers, fmt.Sprint(fd))
	}
	if c.format == nil {
		return []string{c.variables[0] + "=" + strings.Join(numbers, ",")}
	}
	env, _ := c.format(sockets, 1) // of no path it can complain
	return env
}
