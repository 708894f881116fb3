package server

import "golang.org/x/sys/unix"

// storage answers how many bytes of the file system of the data directory are used, and how many there are; zero when it
// does not say. What only root may use counts as used: the broker cannot.
func (s *Server) storage() (used, size int64) {
	var fs unix.Statfs_t
	if unix.Statfs(s.options.Config.DataDir, &fs) != nil {
		return 0, 0
	}
	block := int64(fs.Bsize)
	return int64(fs.Blocks-fs.Bavail) * block, int64(fs.Blocks) * block
}
