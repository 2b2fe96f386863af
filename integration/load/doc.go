// Package load sends HTTP requests to a server on schedule, whatever its answers do, and counts what comes
// back: the instrument that says whether a reload has lost anything.
//
//	g := load.Start(load.Config{Dial: dial, Network: "tcp", Addr: "127.0.0.1:80", Rate: 2000, Timeout: 5 * time.Second})
//	g.Mark("reload")
//	...
//	g.EndMark()
//	r := g.Stop()
//
// The loop is open: request i is due at start + i/rate, and its latency counts from then on. A server that
// stalls for a second so has a second's worth of slow requests, not one; and a generator that is late
// itself shows as latency and in Report.Late rather than as a lower load.
//
// HTTP/1.1 is written and read by hand on a net.Conn, because a client that retries, pools or prettifies
// errors would hide what is to be counted.
package load
