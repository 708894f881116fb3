package server

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/hub"
	"github.com/turnstone-mq/turnstone/broker/object"
)

// bootstrap makes the first users, as long as there is none. They have no owner, so that whoever applies them later
// takes them over.
func (s *Server) bootstrap(ctx context.Context) error {
	wanted := s.options.Config.Auth.BootstrapUsers
	if there, _ := s.hub.Objects("", object.KindUser); len(there) > 0 || len(wanted) == 0 {
		return nil
	}
	changes, err := firstUsers(wanted)
	if err != nil {
		return err
	}
	results, err := s.hub.Apply(ctx, "", changes, hub.ApplyOptions{})
	if err != nil {
		return fmt.Errorf("create the first users: %w", err)
	}
	for _, r := range results {
		if r.Outcome == object.Refused || r.Outcome == object.Conflict {
			return fmt.Errorf("create the first users: %s", r.Message)
		}
	}
	return nil
}

// firstUsers are the objects of users who may do everything in their virtual hosts.
func firstUsers(users []config.BootstrapUser) ([]object.Change, error) {
	objects := make(map[object.Key]object.Object)
	add := func(kind object.Kind, vhost, name string, spec any) error {
		o, err := object.New(kind, vhost, name, spec)
		objects[o.Key] = o
		return err
	}
	for _, u := range users {
		password, err := passwordOf(u)
		if err != nil {
			return nil, err
		}
		if err := add(object.KindUser, "", u.Name, object.UserSpec{Password: password, Tags: u.Tags}); err != nil {
			return nil, err
		}
		hosts := u.VirtualHosts
		if len(hosts) == 0 {
			hosts = []string{"/"}
		}
		for _, host := range hosts {
			all := object.PermissionSpec{Configure: ".*", Write: ".*", Read: ".*"}
			if err := add(object.KindPermission, host, u.Name, all); err != nil {
				return nil, err
			}
			if host == "/" { // it is there, possibly with limits
				continue
			}
			if err := add(object.KindVirtualHost, "", host, object.VirtualHostSpec{}); err != nil {
				return nil, err
			}
		}
	}
	changes := make([]object.Change, 0, len(objects))
	for _, o := range objects {
		changes = append(changes, object.Change{Object: o})
	}
	slices.SortFunc(changes, func(a, b object.Change) int { return a.Key.Compare(b.Key) })
	return changes, nil
}

func passwordOf(u config.BootstrapUser) (string, error) {
	if u.Password != "" {
		return u.Password, nil
	}
	b, err := os.ReadFile(u.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password of user %q: %w", u.Name, err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" {
		return "", fmt.Errorf("password of user %q: %s is empty", u.Name, u.PasswordFile)
	}
	return p, nil
}
