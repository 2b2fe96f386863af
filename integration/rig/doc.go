// Package rig boots a real systemd as PID 1 of throw-away namespaces, for integration tests.
//
//	func TestReload(t *testing.T) {
//		r := rig.New(t, rig.Config{Root: "trixie", Bind: []string{dir + ":/opt/flipexec"}})
//		r.WriteUnit("web.service", "[Service]\nType=notify\nExecStart=...\n")
//		r.Systemctl("start", "web")
//		c, err := r.Dial(ctx, "tcp", "127.0.0.1:80")
//	}
//
// A rig has its own processes, mounts, network, cgroups and /run; its root is a writable overlay, so
// nothing that it does reaches the host except through a path in Config.BindRW. It is no sandbox:
// its root user is the host's. Everything in it ends with Close, and also when the test process dies.
//
// Boots and clean-up are done by the script sdrig, root file systems are made by the script mkroot;
// both are embedded, and both can be used by hand. Needs Linux 5.8 (setns with a pidfd), root, bash and
// util-linux, and for a root other than "host" apt, dpkg-deb and tar. What is missing is an error,
// never a reason to skip.
package rig
