package activation_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flipexec/flipexec/activation"
)

const manual = "../docs/sockets.md"

// TestManualHasEveryOption: its table is written by the one in the code.
// FLIPEXEC_UPDATE=1 puts it into the manual.
func TestManualHasEveryOption(t *testing.T) {
	names := activation.OptionNames()
	slices.Sort(names)
	var rows []string
	for _, name := range names {
		rows = append(rows, activation.ManualRow(name))
	}
	checkTable(t, "| option | systemd.socket(5) | value | networks | at a reload |\n|---|---|---|---|---|\n", rows)
}

// TestManualHasEveryConvention: its table is written in the same way.
func TestManualHasEveryConvention(t *testing.T) {
	checkTable(t, "| kind | variables | `--export` for | `--import` from |\n|---|---|---|---|\n", activation.ConventionRows())
}

func checkTable(t *testing.T, head string, rows []string) {
	t.Helper()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), head)
	if !ok {
		t.Fatalf("%s has no table %s", manual, head)
	}
	got, after, _ := strings.Cut(after, "\n\n")
	want := strings.Join(rows, "\n")
	if got == want {
		return
	}
	if os.Getenv("FLIPEXEC_UPDATE") == "" {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := os.WriteFile(manual, []byte(before+head+want+"\n\n"+strings.TrimPrefix(after, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// settings are those that only [Socket] has in "systemd --dump-configuration-items" of
// systemd 262, and those with which systemd.socket(5) means something of its own.
const settings = `Accept AcceptFileDescriptors Backlog BindIPv6Only BindToDevice Broadcast DeferAcceptSec DeferTrigger
DeferTriggerMaxSec DirectoryMode ExecStopPre FileDescriptorName FlushPending FreeBind IPTOS IPTTL KeepAlive
KeepAliveIntervalSec KeepAliveProbes KeepAliveTimeSec ListenDatagram ListenFIFO ListenMessageQueue ListenNetlink
ListenSequentialPacket ListenSpecial ListenStream ListenUSBFunction Mark MaxConnections MaxConnectionsPerSource
MessageQueueMaxMessages MessageQueueMessageSize NoDelay PassCredentials PassFileDescriptorsToExec PassPIDFD
PassPacketInfo PassSecurity PipeSize PollLimitBurst PollLimitIntervalSec Priority ReceiveBuffer RemoveOnStop ReusePort
SELinuxContextFromNet SendBuffer Service SmackLabel SmackLabelIPIn SmackLabelIPOut SocketGroup SocketMode SocketProtocol
SocketUser Symlinks TCPCongestion Timestamping Transparent TriggerLimitBurst TriggerLimitIntervalSec Writable XAttrAccept
XAttrEntryPoint XAttrListen
ExecStartPre ExecStartPost ExecStopPost TimeoutSec`

// TestManualHasEverySettingOfSystemd: in the table of options or in that of the others,
// and none that there is not.
func TestManualHasEverySettingOfSystemd(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, others, ok := strings.Cut(string(text), "| setting | here |\n|---|---|\n")
	if !ok {
		t.Fatalf("%s has no table of settings", manual)
	}
	var got []string
	for _, name := range activation.OptionNames() {
		if s := activation.SettingOf(name); s != "" {
			got = append(got, s)
		}
	}
	for row := range strings.Lines(others) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "|"), "|")
		for _, m := range regexp.MustCompile("`([A-Za-z0-9]+)=`").FindAllStringSubmatch(cell, -1) {
			got = append(got, m[1])
		}
	}
	want := strings.Fields(settings)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		for _, s := range want {
			if !slices.Contains(got, s) {
				t.Errorf("%s= is missing", s)
			}
		}
		for _, s := range got {
			if !slices.Contains(want, s) {
				t.Errorf("%s= is no setting", s)
			}
		}
		t.Errorf("got %d settings, want %d", len(got), len(want))
	}
}
