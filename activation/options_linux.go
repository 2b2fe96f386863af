package activation

import (
	"math"

	"golang.org/x/sys/unix"
)

const protocolUDPLite = unix.IPPROTO_UDPLITE

// options are all that a spec can have, in the order in which they are set: tos
// before priority, because the kernel derives a priority from it, and the owner before
// the mode, so that a file opens only to those for whom it is meant.
//
// The literal needs no code at the program's start, which a map or a closure would.
var options = []option{
	{name: "protocol", setting: "SocketProtocol", values: "mptcp, sctp, udplite", on: onIP,
		parse: parseProtocol, when: atCreation, fixed: stays, v4: sockopt{unix.SOL_SOCKET, unix.SO_PROTOCOL}},
	{name: "v6only", setting: "BindIPv6Only", values: "yes, no", on: " tcp udp ",
		parse: parseBool, when: atCreation, fixed: stays, v4: sockopt{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}},
	{name: "nonblocking", values: "yes, no", on: onIP + onUnix + " vsock vsockgram netlink ",
		parse: parseBool, when: atCreation, fixed: shared, set: setNonBlocking, get: getNonBlocking},
	{name: "writable", setting: "Writable", values: "yes, no", on: " special ",
		parse: parseBool, when: atCreation, fixed: reopened, get: getWritable},
	{name: "directorymode", setting: "DirectoryMode", values: "octal", on: onUnix + " fifo ",
		parse: parseMode, when: atCreation, fixed: forgotten},

	{name: "reuseport", setting: "ReusePort", values: "yes, no", on: onIP,
		parse: parseBool, fixed: staysOn, v4: sockopt{unix.SOL_SOCKET, unix.SO_REUSEPORT}},
	{name: "freebind", setting: "FreeBind", values: "yes, no", on: onIP,
		parse: parseBool, v4: sockopt{unix.SOL_IP, unix.IP_FREEBIND}, v6: sockopt{unix.SOL_IPV6, unix.IPV6_FREEBIND}},
	{name: "transparent", setting: "Transparent", values: "yes, no", on: onIP,
		parse: parseBool, v4: sockopt{unix.SOL_IP, unix.IP_TRANSPARENT}, v6: sockopt{unix.SOL_IPV6, unix.IPV6_TRANSPARENT}},
	{name: "device", setting: "BindToDevice", values: "interface", on: onIP,
		parse: parseDevice, set: setDevice, get: getDevice},
	{name: "mark", setting: "Mark", values: "number, also 0x...", on: onIP,
		parse: parseMark, v4: sockopt{unix.SOL_SOCKET, unix.SO_MARK}},

	{name: "rcvbuf", setting: "ReceiveBuffer", values: "size", on: onIP + onUnix + " netlink ",
		parse: parseSize, least: 1, most: math.MaxInt32, set: setReceiveBuffer, get: getReceiveBuffer},
	{name: "sndbuf", setting: "SendBuffer", values: "size", on: onIP + onUnix + " netlink ",
		parse: parseSize, least: 1, most: math.MaxInt32, set: setSendBuffer, get: getSendBuffer},
	{name: "pipesize", setting: "PipeSize", values: "size", on: " fifo ",
		parse: parseSize, least: 1, most: math.MaxInt32, set: setPipeSize, get: getPipeSize},

	{name: "tos", setting: "IPTOS", values: "low-delay, throughput, reliability, low-cost, 0 to 255", on: onIP,
		parse: parseTOS, v4: sockopt{unix.SOL_IP, unix.IP_TOS}, v6: sockopt{unix.SOL_IPV6, unix.IPV6_TCLASS}, both: true},
	{name: "priority", setting: "Priority", values: "number", on: onIP + onUnix + " netlink ",
		parse: parseNumber, most: math.MaxInt32, v4: sockopt{unix.SOL_SOCKET, unix.SO_PRIORITY}},
	{name: "ttl", setting: "IPTTL", values: "1 to 255", on: onIP,
		parse: parseNumber, least: 1, most: 255, v4: sockopt{unix.SOL_IP, unix.IP_TTL}, v6: sockopt{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS}, both: true},
	{name: "broadcast", setting: "Broadcast", values: "yes, no", on: onUDP,
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_BROADCAST}},

	{name: "nodelay", setting: "NoDelay", values: "yes, no", on: onTCP,
		parse: parseBool, set: setNoDelay, get: getNoDelay},
	{name: "keepalive", setting: "KeepAlive", values: "yes, no", on: onTCP,
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_KEEPALIVE}},
	{name: "keepalivetime", setting: "KeepAliveTimeSec", values: "duration", on: onTCP,
		parse: parseSeconds, least: 1, most: 32767, v4: sockopt{unix.SOL_TCP, unix.TCP_KEEPIDLE}},
	{name: "keepaliveinterval", setting: "KeepAliveIntervalSec", values: "duration", on: onTCP,
		parse: parseSeconds, least: 1, most: 32767, v4: sockopt{unix.SOL_TCP, unix.TCP_KEEPINTVL}},
	{name: "keepaliveprobes", setting: "KeepAliveProbes", values: "1 to 127", on: onTCP,
		parse: parseNumber, least: 1, most: 127, v4: sockopt{unix.SOL_TCP, unix.TCP_KEEPCNT}},
	{name: "deferaccept", setting: "DeferAcceptSec", values: "duration", on: onTCP,
		parse: parseSeconds, most: math.MaxInt16, v4: sockopt{unix.SOL_TCP, unix.TCP_DEFER_ACCEPT}},
	{name: "fastopen", values: "queue length", on: onTCP,
		parse: parseNumber, most: math.MaxInt32, v4: sockopt{unix.SOL_TCP, unix.TCP_FASTOPEN}},
	{name: "congestion", setting: "TCPCongestion", values: "algorithm", on: onTCP,
		parse: parseWord, set: setCongestion, get: getCongestion},

	{name: "passcred", setting: "PassCredentials", values: "yes, no", on: onUnix + " netlink ",
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_PASSCRED}},
	{name: "passpidfd", setting: "PassPIDFD", values: "yes, no", on: onUnix,
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_PASSPIDFD}},
	{name: "passsec", setting: "PassSecurity", values: "yes, no", on: onUnix,
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_PASSSEC}},
	{name: "acceptfiledescriptors", setting: "AcceptFileDescriptors", values: "yes, no", on: onUnix,
		parse: parseBool, v4: sockopt{unix.SOL_SOCKET, unix.SO_PASSRIGHTS}},
	{name: "passpacketinfo", setting: "PassPacketInfo", values: "yes, no", on: onUDP + " netlink ",
		parse: parseBool, set: setPacketInfo, get: getPacketInfo},
	{name: "timestamping", setting: "Timestamping", values: "off, us, ns", on: onIP + onUnix,
		parse: parseTimestamping, set: setTimestamping, get: getTimestamping},

	{name: "backlog", setting: "Backlog", values: "number", on: onTCP + onStream + " vsock ",
		parse: parseBacklog, when: atListen, set: setBacklog, get: getBacklog},

	{name: "user", setting: "SocketUser", values: "name or number", on: onUnix + " fifo ",
		parse: parseAccount, when: onFile, set: setUser, get: getUser},
	{name: "group", setting: "SocketGroup", values: "name or number", on: onUnix + " fifo ",
		parse: parseAccount, when: onFile, set: setGroup, get: getGroup},
	{name: "mode", setting: "SocketMode", values: "octal", on: onUnix + " fifo ",
		parse: parseMode, when: onFile, set: setMode, get: getMode},
}
