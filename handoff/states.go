package handoff

// state is where a generation is in its life, as its keeper sees it.
type state int

const (
	starting   state = iota // its server runs, or is about to, and has not said READY=1
	publishing              // ready; its launcher writes the PID file
	announced               // the launcher is telling the manager the main PID
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
	isAnnounced              // the launcher: I am about to tell the manager
	isPublished              // the launcher: the manager follows the new server
	isAborted                // the launcher: give up
	isAbandoned              // the launcher died
	isReplaced               // the successor: commit
	isTimedOut               // the deadline of this state has passed
	isEmpty                  // no process of the generation is left
)

// action is what the keeper does about it.
type action int

const (
	tellReady  action = iota
	commit            // rows 10 and 11
	drain             // row 12
	stopFailed        // say why, send the stop signal, give it the grace
	killFailed        // say why, kill what the server left behind
	awaitRest         // wait for what the server left behind
	killRest          // kill it
	cleanUp           // unlink the sockets
	leave             // nothing more: the loop ends
	wait              // nothing yet: the launcher is at work
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
// one, which knows nothing of it, serves on. From isPublished on there is no way
// back, because the manager follows the new server; the commit is then carried out
// even if launcher and previous keeper are dead.
//
// In between, for the time of one barrier, the manager may or may not have taken
// the new main PID. A launcher that dies there has most probably sent it, so that
// the generation goes forward without it. A server that dies there is taken back
// by the launcher (takeBack), as far as systemd allows: if it had taken the main
// PID and the server failed with a status other than 0, the unit fails, except
// where PIDFile= names the PID file, which is put back first.
var transitions = map[state]map[event]step{
	starting: {
		isReady:     {publishing, tellReady},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isTimedOut:  {failed, stopFailed},
		isAborted:   {failed, stopFailed},
		isAbandoned: {failed, stopFailed},
	},
	publishing: {
		isAnnounced: {announced, wait},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isAborted:   {failed, stopFailed},
		isAbandoned: {failed, stopFailed},
	},
	announced: {
		isPublished: {current, commit},
		isAbandoned: {current, commit},
		hasFailed:   {failed, stopFailed},
		hasExited:   {failed, killFailed},
		isAborted:   {failed, stopFailed},
	},
	current: {
		isReplaced: {draining, drain},
		hasExited:  {gone, cleanUp}, // the manager decides what next
	},
	draining: {
		hasExited:  {draining, awaitRest},
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
	return [...]string{"starting", "publishing", "announced", "current", "draining", "failed", "gone"}[s]
}

func (e event) String() string {
	return [...]string{"ready", "failed", "exited", "announced", "published", "aborted", "abandoned", "replaced", "timed out", "empty"}[e]
}
