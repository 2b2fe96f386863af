package activation

// Inherited returns the descriptors that this process was passed, with their
// names, and makes them close-on-exec. None is no error, nor are variables that
// are meant for another process (sd_listen_fds(3)); malformed variables are, and
// descriptors that are not there. The descriptors become the caller's. The
// environment is left as it is.
func Inherited(lookup func(string) (string, bool)) ([]Socket, error) {
	return inherited(lookup)
}

// PIDFDID is the inode number of a pidfd, which names a process for as long as
// the machine runs, or 0 where the kernel has no pidfs. The descriptor stays
// the caller's.
func PIDFDID(pidfd int) (uint64, error) {
	return pidfdid(pidfd)
}
