package cluster

import (
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"
)

// logger passes raft's words on. What raft calls information are steps of its protocol: debugging for us.
type logger struct{ *slog.Logger }

func (l logger) Debug(v ...any)              { l.Logger.Debug(fmt.Sprint(v...)) }
func (l logger) Debugf(f string, v ...any)   { l.Logger.Debug(fmt.Sprintf(f, v...)) }
func (l logger) Info(v ...any)               { l.Logger.Debug(fmt.Sprint(v...)) }
func (l logger) Infof(f string, v ...any)    { l.Logger.Debug(fmt.Sprintf(f, v...)) }
func (l logger) Warning(v ...any)            { l.Logger.Warn(fmt.Sprint(v...)) }
func (l logger) Warningf(f string, v ...any) { l.Logger.Warn(fmt.Sprintf(f, v...)) }
func (l logger) Error(v ...any)              { l.Logger.Error(fmt.Sprint(v...)) }
func (l logger) Errorf(f string, v ...any)   { l.Logger.Error(fmt.Sprintf(f, v...)) }
func (l logger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (l logger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }

var _ raft.Logger = logger{}
