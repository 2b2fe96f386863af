package handoff

// The kinds of messages. Between a launcher and the running keeper, over the
// control socket:
const (
	msgReload   = "reload"   // launcher: version
	msgEstate   = "estate"   // keeper: version, and the fields of an estate
	msgReserve  = "reserve"  // launcher: specs, whose paths it is going to bind
	msgReserved = "reserved" // keeper: should you die, I tidy up
	msgRefused  = "refused"  // keeper: version, reason, code
	msgCommit   = "commit"   // new keeper: you have been replaced
	msgReplaced = "replaced" // keeper: my server has been told to stop
	msgEnd      = "end"      // a later keeper: too many generations drain, end yours
)

// Between a launcher and the keeper that it started, over a socket pair:
const (
	msgStart     = "start"     // launcher: the fields of an estate, and those of runKeeper
	msgStarted   = "started"   // keeper: @server
	msgNotify    = "notify"    // keeper: text, what the server said
	msgProbation = "probation" // keeper: time, for which it will be silent
	msgReady     = "ready"     // keeper: @server
	msgFailed    = "failed"    // keeper: reason, code; it ends the generation and leaves
	msgAnnounced = "announced" // launcher: the manager was told the main PID
	msgPublished = "published" // launcher: the manager follows the new server
	msgAbort     = "abort"     // launcher: end the generation and leave
	msgDone      = "done"      // keeper: the generation is current
)
