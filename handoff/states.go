package handoff

// state is where a generation is in its life, as its keeper sees it.
type state int

const (
	starting   state = iota // its server runs, or is about to, and has not said READY=1
	probation               // ready; both generations serve until it has proved itself
	publishing              // its launcher writes the PID file
	announced               // the manager was told the main PID, and may have taken it
	current                 // the generation that serves and is known to the manager
	draining                // replaced; its server finishes what it has accepted
	failed                  // will never be current; its processes are being ended
	gone                    // no process of it is left; the keeper leaves
)

// event is what can happen to a generation.
type event int

const (
	isReady     event = iota // the server said READY=1
	hasFailed                // the server could not be executed, or said that it stops
	hasExited                // the server has exited
	isAnnounced              // the launcher's note: the manager has been told
	isPublished              // the launcher: the manager follows the new server
	isAborted                // the launcher: give up
	isAbandoned              // the launcher died
	isDeserted               // the manager died, where that is a foreground process
	isReplaced               // the successor: commit
	isCrowded                // the current generation: too many of us drain
	isTimedOut               // the deadline of this state has passed
	isEmpty                  // no process of the generation is left
)

// action is what the keeper does about it.
type action int

const (
	beginProbation action = iota // say that it is ready
	tellReady                    // hand it to the launcher
	awaitLauncher                // nothing, for a bounded time: the launcher is at work
	endLauncher                  // kill it, which is then isAbandoned
	commit                       // rows 10 and 11
	leadPath                     // row 10 again, which failed
	drain                        // row 12
	finishDeserted               // tell the server to finish, without a successor
	stopFailed                   // say why, send the stop signal, give it the grace
	killFailed                   // say why, kill what the server left behind
	awaitRest                    // wait for what the server left behind
	killRest                     // kill it
	cleanUp                      // unlink the sockets
	leave                        // nothing more: the loop ends
)

// step is one cell of the table: where to go and what to do on arrival.
type step struct {
	next state
	do   action
}

// transitions is the whole life of a generation. An event that a state does not
// list changes nothing there.
//
// Until isAnnounced every failure goes back: this generation ends and the previous
// one, which knows nothing of it, serves on. From there on a failure of ours goes
// forward, because the manager follows the new server or is about to: the commit
// is carried out even if launcher and previous keeper are dead, and a keeper that
// dies is replaced by its launcher.
//
// There is no instant of doubt between the two. The launcher tells the manager the
// main PID and its keeper that it did so by one system call (notify.SendWitnessed),
// so that a keeper whose launcher is dead finds the note exactly if the message is
// in the manager's queue. (Unless strangers keep the notify socket's queue full just
// then: the note is a message of its own in that case, and a launcher that is killed
// before it goes back.) That the message is there, and not taken yet, is enough: the
// manager takes it before it learns of the launcher's end, or of the previous
// server's (systemd serves notifications before SIGCHLD), and refuses the PID of a
// process of the unit only if it is dead.
//
// That is what is left, a server that dies in announced, the time of one barrier.
// Its launcher takes it back (takeBack) as far as systemd allows: if that had taken
// the main PID and the server failed with a status other than 0, the unit fails,
// except where PIDFile= names the PID file, which is put back first. The same
// happens to a server that dies as soon as it is current.
var transitions = map[state]map[event]step{
	starting: {
		isReady:     {probation, beginProbation},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isTimedOut:  {failed, stopFailed},
		isAborted:   {failed, stopFailed},
		isAbandoned: {failed, stopFailed},
		isDeserted:  {failed, stopFailed},
	},
	probation: {
		isTimedOut:  {publishing, tellReady},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isAborted:   {failed, stopFailed},
		isAbandoned: {failed, stopFailed},
		isDeserted:  {failed, stopFailed},
	},
	publishing: {
		isAnnounced: {announced, awaitLauncher},
		isPublished: {current, commit}, // the note waits behind what strangers sent
		isTimedOut:  {publishing, endLauncher},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isAborted:   {failed, stopFailed},
		isAbandoned: {failed, stopFailed},
		isDeserted:  {failed, stopFailed},
	},
	announced: {
		isPublished: {current, commit},
		isTimedOut:  {current, commit},
		isAbandoned: {current, commit},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isAborted:   {failed, stopFailed},
		isDeserted:  {failed, stopFailed},
	},
	current: {
		isReplaced: {draining, drain},
		isDeserted: {draining, finishDeserted},
		isTimedOut: {current, leadPath},
		hasExited:  {gone, cleanUp}, // the manager decides what next
	},
	draining: {
		hasExited:  {draining, awaitRest},
		isCrowded:  {draining, killRest},
		isTimedOut: {draining, killRest},
		isEmpty:    {gone, leave},
	},
	failed: {
		hasExited:  {failed, killRest},
		isTimedOut: {failed, killRest},
		isEmpty:    {gone, leave},
	},
}

// next is the transition for an event, and whether there is one.
func next(s state, e event) (step, bool) {
	t, ok := transitions[s][e]
	return t, ok
}

func (s state) String() string {
	return [...]string{"starting", "on probation", "publishing", "announced", "current", "draining", "failed", "gone"}[s]
}

func (e event) String() string {
	return [...]string{"ready", "failed", "exited", "announced", "published", "aborted", "abandoned", "deserted", "replaced", "crowded", "timed out", "empty"}[e]
}
