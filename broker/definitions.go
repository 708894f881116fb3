package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/broker/admin/client"
)

// requestPatience bounds what a command waits for a broker.
const requestPatience = 5 * time.Minute

// remote is how a command reaches the admin API of a broker that runs.
type remote struct {
	url, user, ca string
	vhost         string
}

// flags adds the flags that say where the broker is.
func (r *remote) flags(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&r.url, "url", "http://127.0.0.1:15672", "`URL` of the broker's admin API")
	set.StringVar(&r.user, "user", "", "`NAME:PASSWORD` of an administrator (default $TURNSTONE_USER, or else guest:guest)")
	set.StringVar(&r.ca, "ca", "", "`FILE` with the authorities of the broker's certificate (default those of the system)")
	set.StringVar(&r.vhost, "vhost", "", "only what is in the virtual host `NAME`")
}

func (r *remote) client() (*client.Client, error) {
	user := r.user
	if user == "" {
		user = os.Getenv("TURNSTONE_USER")
	}
	if user == "" {
		user = "guest:guest"
	}
	name, password, ok := strings.Cut(user, ":")
	if !ok {
		return nil, usageError{errors.New("--user: want NAME:PASSWORD")}
	}
	o := client.Options{URL: r.url, User: name, Password: password}
	if r.ca != "" {
		authorities, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ca: %w", err)}
		}
		o.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !o.TLS.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, usageError{fmt.Errorf("--ca: %s has no certificate in PEM form", r.ca)}
		}
	}
	c, err := client.New(o)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// call does something with the broker, as long as requestPatience lasts.
func (r *remote) call(do func(context.Context, *client.Client) error) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), requestPatience)
	defer cancel()
	return do(ctx, c)
}

func definitionsCommand(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use: "definitions", Short: "Import and export RabbitMQ's definitions.json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("name a command: import or export (%s --help says more)", cmd.CommandPath())}
		},
	}
	cmd.AddCommand(importDefinitions(stdout), exportDefinitions(stdout))
	return cmd
}

func importDefinitions(stdout io.Writer) *cobra.Command {
	var r remote
	var dryRun bool
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Bring definitions into force in a broker that runs; - is standard input", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readFile(args[0], cmd.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			return r.call(func(ctx context.Context, c *client.Client) error {
				report, err := c.Import(ctx, file, r.vhost, dryRun)
				if err != nil {
					return err
				}
				return showReport(stdout, report, dryRun)
			})
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would become of it, and change nothing")
	return cmd
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

func showReport(stdout io.Writer, report client.ImportReport, dryRun bool) error {
	for _, s := range report.Skipped {
		if _, err := fmt.Fprintf(stdout, "not taken over: %s: %s\n", s.What, s.Why); err != nil {
			return err
		}
	}
	would := ""
	if dryRun {
		would = "would be "
	}
	_, err := fmt.Fprintf(stdout, "%d %screated, %d %supdated, %d unchanged, %d not taken over\n", report.Created, would, report.Updated, would, report.Unchanged, len(report.Skipped))
	return err
}

func exportDefinitions(stdout io.Writer) *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "export", Short: "Write the definitions of a broker that runs to standard output", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return r.call(func(ctx context.Context, c *client.Client) error {
				file, err := c.Export(ctx, r.vhost)
				if err != nil {
					return err
				}
				_, err = stdout.Write(file)
				return err
			})
		},
	}
	r.flags(cmd)
	return cmd
}
