package object

import (
	"errors"
	"fmt"
	"strings"
)

// Tags are what users can be called; administrator and monitoring open the admin API.
var Tags = []string{"administrator", "monitoring", "management", "policymaker"}

// How the stored forms of passwords begin. The broker makes those of argon2id; RabbitMQ's come with its definitions: the
// base64 of four bytes of salt and the SHA-2 of salt and password follows.
const (
	HashArgon2id     = "$argon2id$"
	HashRabbitSHA256 = "$rabbit-sha256$"
	HashRabbitSHA512 = "$rabbit-sha512$"
)

// LongestOverlap is for how many seconds a password may be right beside the one that took its place.
const LongestOverlap = 30 * 24 * 60 * 60

// forgetPasswords takes away what is never answered nor compared.
func (s *UserSpec) forgetPasswords() {
	s.Password, s.PasswordHash, s.Scram, s.OverlapSeconds, s.Previous = "", "", nil, 0, nil
}

// SaltsOf are the keys of SCRAM whose salts those of a new password must have: as long as both are right, one salt must do
// for both, since a client is told one before it says which password it has.
func (s UserSpec) SaltsOf(present UserSpec) []string {
	if s.OverlapSeconds == 0 {
		return nil
	}
	return present.Scram
}

// Bounds of patterns of client ids.
const (
	mostClientIDs   = 64
	longestClientID = 1024 // bytes of a pattern
)

// checkClientIDs says what is wrong with the patterns of a user.
func checkClientIDs(patterns []string) error {
	if len(patterns) > mostClientIDs {
		return fmt.Errorf("there are %d patterns, %d are the most", len(patterns), mostClientIDs)
	}
	for i, p := range patterns {
		switch {
		case p == "":
			return fmt.Errorf("pattern %d is empty: write * for any", i)
		case len(p) > longestClientID:
			return fmt.Errorf("pattern %d is %d bytes long, %d are the most", i, len(p), longestClientID)
		case strings.ContainsRune(p, 0):
			return errors.New("a client id has no NUL")
		}
	}
	return nil
}

// CheckLogin says what is wrong with a request's passwords of before and patterns of client ids.
func (s UserSpec) CheckLogin() error {
	if s.Previous != nil {
		return errors.New("previous is the broker's to write: set overlapSeconds with a new password")
	}
	if s.OverlapSeconds < 0 || s.OverlapSeconds > LongestOverlap {
		return fmt.Errorf("overlapSeconds: %d is not within 0 and %d", s.OverlapSeconds, LongestOverlap)
	}
	if err := checkClientIDs(s.ClientIDs); err != nil {
		return fmt.Errorf("clientIds: %w", err)
	}
	return nil
}
