package handoff

import (
	"strconv"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
)

func TestUnitIsReadFromTheCgroup(t *testing.T) {
	for cgroups, want := range map[string]string{
		"":                                      "",
		"0::/\n":                                "",
		"0::/system.slice/web.service\n":        "web.service",
		"0::/system.slice/web.service/.control": "web.service",
		"0::/system.slice/system-web.slice/web@1.service/sub":                      "web@1.service",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n": "web.service",
		"0::/user.slice/user-1000.slice/session-2.scope\n":                         "session-2.scope",
		"1:name=systemd:/system.slice/web.service\n0::/system.slice\n":             "web.service",
		"0::/system.slice/webservice\n":                                            "",
	} {
		if got := parseUnit(cgroups); got != want {
			t.Errorf("%q: got %q, want %q", cgroups, got, want)
		}
	}
}

func TestControlSocketIsInTheRuntimeDirectoryOrAbstract(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"RUNTIME_DIRECTORY=/run/web", "INVOCATION_ID=1f"}, "unixpacket:/run/web/flipexec.sock"},
		{[]string{"RUNTIME_DIRECTORY=/run/web:/run/x"}, "unixpacket:/run/web/flipexec.sock"},
		{[]string{"INVOCATION_ID=1f"}, "unixpacket:@flipexec/1f/" + unitName()},
	} {
		got, err := controlSpec(c.env)
		if err != nil || got.String() != c.want {
			t.Errorf("%q: got %q, %v, want %q", c.env, got, err, c.want)
		}
	}
	_, err := controlSpec(nil)
	checkError(t, "no place", err, "hint: RuntimeDirectory= in the unit")
	_, err = controlSpec([]string{"RUNTIME_DIRECTORY=/run/" + strings.Repeat("x", 100)})
	checkError(t, "a long directory", err, "flipexec.sock: path of")
}

func TestControlAddressIsThatOfTheSpec(t *testing.T) {
	for spec, want := range map[string]string{"unixpacket:/run/web/flipexec.sock": "/run/web/flipexec.sock", "unixpacket:@a": "@a", "": ""} {
		if got := controlAddress(activation.Socket{Spec: spec}); got != want {
			t.Errorf("%q: got %q, want %q", spec, got, want)
		}
	}
}

func TestKeeperServesOneReloadAtATime(t *testing.T) {
	request := func(kind string, v versions) message {
		m := message{kind: kind}
		v.appendTo(&m)
		return m
	}
	noLeast := message{kind: msgReload}
	noLeast.add("version", "1")
	busy := keeper{state: current, successor: &channel{-1}}
	for _, c := range []struct {
		name   string
		k      keeper
		m      message
		code   int
		reason string
	}{
		{"current", keeper{state: current}, request(msgReload, spoken), 0, ""},
		{"another handoff", busy, request(msgReload, spoken), ExitBusy, "another handoff is under way"},
		{"starting", keeper{state: starting}, request(msgReload, spoken), ExitBusy, "is still starting"},
		{"publishing", keeper{state: publishing}, request(msgReload, spoken), ExitBusy, "is still publishing"},
		{"no version", keeper{state: current}, message{kind: msgReload}, ExitFailed, `message "reload": version="" is no number`},
		{"no least version", keeper{state: current}, noLeast, ExitFailed, `message "reload": least="" is no version up to 1`},
		{"unknown request", keeper{state: current}, request("dance", spoken), ExitFailed, `unknown request "dance"`},
	} {
		r := c.k.refuse(c.m)
		if r == nil {
			if c.reason != "" {
				t.Errorf("%s: was served", c.name)
			}
			continue
		}
		if r.get("code") != strconv.Itoa(c.code) || !strings.Contains(r.get("reason"), c.reason) || r.get("version") != "1" || r.get("least") != "1" {
			t.Errorf("%s: got %v, want code %d and %q", c.name, r.fields, c.code, c.reason)
		}
		if err := refusal(*r); ExitCode(err) != max(c.code, 1) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: the launcher got %v, exit code %d, want %q, %d", c.name, err, ExitCode(err), c.reason, c.code)
		}
	}
}

func TestRefusalIsNeverASuccess(t *testing.T) {
	for _, code := range []string{"", "x", "0", "-1", "256"} {
		m := message{kind: msgRefused}
		m.add("reason", "no")
		m.add("code", code)
		if got := ExitCode(refusal(m)); got != ExitFailed {
			t.Errorf("code %q: got exit code %d, want %d", code, got, ExitFailed)
		}
	}
	checkError(t, "other kind", refusal(message{kind: "hello"}), `control socket: message "hello" was not expected`)
}
