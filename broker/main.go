// Command turnstone is the message broker: it serves, checks configuration files, moves definitions, and says what it is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/turnstone-mq/turnstone/broker/catalog"
	"github.com/turnstone-mq/turnstone/broker/config"
	"github.com/turnstone-mq/turnstone/broker/server"
)

// Set by the linker: -ldflags "-X main.version=… -X main.commit=…".
var (
	version = "0.1.0-dev"
	commit  = "unknown"
)

// The exit codes, on which scripts rely.
const (
	exitFailed = 1 // the broker could not start, or ended badly
	exitUsage  = 2 // the command line or the configuration is wrong
)

// usageError is a mistake of whoever wrote the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	root := commands(stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "turnstone: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func commands(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "turnstone",
		Short:         "A message broker that speaks MQTT and AMQP",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		return usageError{fmt.Errorf("name a command: serve, check-config, definitions or version (%s --help says more)", cmd.CommandPath())}
	}
	root.CompletionOptions.DisableDefaultCmd = true
	definitions := definitionsCommand(stdout)
	root.AddCommand(serve(stderr), checkConfig(stdout), definitions, showVersion(stdout))
	for _, c := range append(append(root.Commands(), definitions.Commands()...), root) {
		if check := c.Args; check != nil {
			c.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return usageError{err}
				}
				return nil
			}
		}
	}
	return root
}

func showVersion(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version and commit", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(stdout, "turnstone %s (commit %s)\n", version, commit)
			return err
		},
	}
}

func checkConfig(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "check-config FILE", Short: "Say whether a configuration file is right", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := config.Load(args[0]); err != nil {
				return usageError{err}
			}
			_, err := fmt.Fprintf(stdout, "%s is right\n", args[0])
			return err
		},
	}
}

// flags are what the command line of serve says; what is empty says nothing.
type flags struct {
	config, data, user          string
	listen                      []string
	tlsCert, tlsKey, tlsClients string
	logFormat, logLevel         string
}

func serve(stderr io.Writer) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the broker", Args: cobra.NoArgs,
		Long: "Run the broker. Without flags it keeps its data in ./data and listens on loopback only: MQTT on port 1883, AMQP on 5672,\n" +
			"the admin API on 15672. As long as no user was created, guest may log in with the password guest, from loopback only.",
		RunE: func(*cobra.Command, []string) error { return f.serve(stderr) },
	}
	set := cmd.Flags()
	set.StringVar(&f.config, "config", "", "configuration `FILE`; it is read again when it changes and on SIGHUP")
	set.StringVar(&f.data, "data", "", "data `DIR` (default \"data\")")
	set.StringArrayVar(&f.listen, "listen", nil, "listener `URL`: mqtt, mqtts, ws, wss, amqp, amqps, http or https://HOST:PORT; repeats, and replaces the default listeners")
	set.StringVar(&f.user, "user", "", "`NAME:PASSWORD` of an administrator of virtual host / to create when there is no user yet")
	set.StringVar(&f.tlsCert, "tls-cert", "", "certificate `FILE` of every …s:// listener")
	set.StringVar(&f.tlsKey, "tls-key", "", "key `FILE` of the certificate")
	set.StringVar(&f.tlsClients, "tls-client-ca", "", "`FILE` with the authorities of client certificates")
	set.StringVar(&f.logFormat, "log-format", "", "text or json (default \"text\")")
	set.StringVar(&f.logLevel, "log-level", "", "debug, info, warn or error (default \"info\")")
	return cmd
}

func (f *flags) serve(stderr io.Writer) error {
	c, err := f.load()
	if err != nil {
		return usageError{err}
	}
	ctx, stop := signalled()
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	keepHeadroom()
	return server.Run(ctx, server.Options{
		Config: c, ConfigFile: f.config, Override: f.override, Reload: reload,
		Version: version, Commit: commit, LogTo: stderr,
		Fatal: func() { os.Exit(exitFailed) },
	})
}

// signalled is a context that ends with the first SIGTERM or SIGINT. The second one ends the process at once.
func signalled() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() { // ends with stop
		for first := true; ; first = false {
			select {
			case <-signals:
				if !first {
					os.Exit(exitFailed)
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
		close(done)
	}
}

// load reads the configuration file, if there is one, puts the command line over it and validates the whole.
func (f *flags) load() (config.Config, error) {
	c := config.Default()
	if f.config != "" {
		var err error
		if c, err = config.Load(f.config); err != nil {
			return c, err
		}
	}
	if f.user != "" {
		if name, password, ok := strings.Cut(f.user, ":"); !ok || name == "" || password == "" {
			return c, errors.New("--user: want NAME:PASSWORD")
		}
	}
	c = f.override(c)
	return c, c.Validate()
}

// override puts what the command line says over a configuration.
func (f *flags) override(c config.Config) config.Config {
	for _, o := range []struct {
		flag string
		key  *string
	}{
		{f.data, &c.DataDir},
		{f.tlsCert, &c.TLS.CertFile},
		{f.tlsKey, &c.TLS.KeyFile},
		{f.tlsClients, &c.TLS.ClientCAFile},
		{f.logFormat, &c.Log.Format},
		{f.logLevel, &c.Log.Level},
	} {
		if o.flag != "" {
			*o.key = o.flag
		}
	}
	if len(f.listen) > 0 {
		c.Listeners = f.listen
	}
	if name, password, ok := strings.Cut(f.user, ":"); ok {
		first := config.BootstrapUser{Name: name, Password: password, Tags: []string{catalog.TagAdministrator}}
		c.Auth.BootstrapUsers = append([]config.BootstrapUser{first}, c.Auth.BootstrapUsers...)
	}
	return c
}
