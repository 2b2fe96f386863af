package pidfile

// maxContent is the largest file that Write remembers, and so replaces. A
// larger one is no PID file, and the path probably a mistake.
const maxContent = 4096

// File is a PID file that was written, with what was there before.
type File struct {
	path    string
	content []byte
	before  entry
}

// entry is what a name in a directory stands for: a regular file, a symbolic
// link, or with a zero mode nothing at all.
type entry struct {
	mode    uint32 // type and permissions, as st_mode of inode(7)
	content []byte // of the file, or the target of the link
}

// Write makes path a file that holds pid and a newline, mode 0644 whatever the
// umask, owned by the caller. It is complete and on disk (fsync(2)) under
// another name before it is renamed to path. On error path is as it was and
// the other name is gone. What path was before stays in the File until
// [File.Restore]; a directory, a device, or a file that is unreadable or
// larger than 4096 bytes could not be put back and is refused.
//
// The directory itself is synced as best effort: after a crash of the machine
// the previous file may be back, and its PID means nothing then anyway.
func Write(path string, pid int) (*File, error) {
	content, err := format(pid)
	if err != nil {
		return nil, pathError("write", path, err)
	}
	f, err := write(path, content)
	if err != nil {
		return nil, pathError("write", path, err)
	}
	return f, nil
}

// Restore puts back what [Write] replaced: the file with its content and mode,
// though owned by the caller now, the symbolic link, or nothing. It does so in
// one step as Write does. If the path no longer holds exactly what Write wrote,
// somebody else has written since, and Restore leaves it alone and returns nil.
func (f *File) Restore() error {
	return pathError("restore", f.path, f.restore())
}
