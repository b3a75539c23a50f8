// PostgreSQL in a container: makes its files where there are none, as a primary or as a replica of one, and runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const hostRules = `
# the application's own
host all all all scram-sha-256
host replication replicator all scram-sha-256
`

// Small, because it shares a laptop with a whole Kubernetes; durable, because that is what it is for.
var settings = []string{
	"listen_addresses=*", "shared_buffers=16MB", "max_connections=40", "jit=off", "wal_keep_size=128MB",
	"max_wal_size=128MB", "min_wal_size=32MB", "password_encryption=scram-sha-256", "log_timezone=UTC", "timezone=UTC",
}

// runPostgres runs the server in PGDATA until the program is told to end.
func runPostgres(ctx context.Context) error {
	data := os.Getenv("PGDATA")
	held, err := hold(data + ".lock")
	if err != nil {
		return err
	}
	// Whoever wrote it is gone, and its number may be another process's by now.
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := makeData(ctx, data); err != nil {
			return err
		}
	}
	// kubelet opens the files of a volume to its fsGroup, and the server refuses files that a group may write.
	if err := os.Chmod(data, 0o700); err != nil {
		return err
	}
	argv := []string{"-D", data}
	for _, each := range settings {
		argv = append(argv, "-c", each)
	}
	err = program(ctx, "", "postgres", argv, held)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// hold waits for the only right to run a server on these files. A pod that was deleted by force may still run one
// when the next pod starts, and neither would know of the other: they have process numbers of their own.
func hold(path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return lock, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
}

// makeData makes PGDATA beside its place and then moves it there, so that a half-made one is never taken for whole.
func makeData(ctx context.Context, data string) error {
	half := data + ".part"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	var err error
	if primary := os.Getenv("PRIMARY_HOST"); primary != "" {
		err = copyPrimary(ctx, primary, half)
	} else {
		err = initialize(ctx, half)
	}
	if err != nil {
		return err
	}
	return os.Rename(half, data)
}

// initialize makes a new cluster with the users and the database of the application.
func initialize(ctx context.Context, half string) error {
	secret := filepath.Join(os.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(os.Getenv("POSTGRES_PASSWORD")+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(secret)
	if err := program(ctx, "", "initdb", []string{"-D", half, "--username=postgres", "--pwfile=" + secret,
		"--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
	}); err != nil {
		return err
	}
	rules, err := os.OpenFile(filepath.Join(half, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer rules.Close()
	if _, err := rules.WriteString(hostRules); err != nil {
		return err
	}
	wishes := fmt.Sprintf("create role app login password %s\ncreate role replicator login replication password %s\n"+
		"create database app owner app\n", quoted(os.Getenv("APP_PASSWORD")), quoted(os.Getenv("REPLICATION_PASSWORD")))
	return program(ctx, wishes, "postgres", []string{"--single", "-D", half, "-c", "exit_on_error=on",
		"-c", "log_min_messages=warning", "postgres"})
}

// copyPrimary copies the primary and makes the copy a standby that streams from it; it waits for the primary.
func copyPrimary(ctx context.Context, primary, half string) error {
	os.Setenv("PGPASSWORD", os.Getenv("REPLICATION_PASSWORD"))
	defer os.Unsetenv("PGPASSWORD")
	for ctx.Err() == nil {
		err := program(ctx, "", "pg_basebackup", []string{"-D", half, "--host=" + primary, "--username=replicator",
			"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-password"})
		if err == nil {
			return nil
		}
		log.Print("waiting for the primary: ", err)
		if err := os.RemoveAll(half); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return ctx.Err()
}

// program runs one of PostgreSQL's; told to end, it ends as the server does in a fast shutdown. It keeps open what it
// is given, so that a lock on it lasts as long as the last of its processes.
func program(ctx context.Context, given, name string, argv []string, kept ...*os.File) error {
	command := exec.CommandContext(ctx, name, argv...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.ExtraFiles = kept
	command.Stdin = strings.NewReader(given)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
