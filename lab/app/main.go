// The demo application: small servers in one program, chosen by ROLE, with a fault to switch on.
// VERSION is shown wherever it answers. Its database is either a part of it (ROLE database and api)
// or a real PostgreSQL (ROLE postgres and rows).
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const patience = 2 * time.Second

var (
	version  = os.Getenv("VERSION")
	fault    = os.Getenv("BREAK") // "errors": answers 500; "crash": ends after a second
	database = os.Getenv("DATABASE_ADDR")
	api      = os.Getenv("API_ADDR")
	question = cmp.Or(os.Getenv("ASK"), "/orders") // what the parts above the api ask it for
	client   = &http.Client{Timeout: patience}
	answers  [600]atomic.Int64 // by HTTP status
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if fault == "crash" {
		time.AfterFunc(time.Second, func() { log.Fatal("this version crashes") })
	}
	var err error
	switch role := os.Getenv("ROLE"); role {
	case "database":
		err = serveDatabase(ctx, ":5432")
	case "api":
		err = serve(ctx, map[string]http.HandlerFunc{"/": order, "/orders": order, "/readyz": databaseReady})
	case "bot":
		go ask(ctx)
		err = serve(ctx, map[string]http.HandlerFunc{"/": counters})
	case "frontend":
		err = serve(ctx, map[string]http.HandlerFunc{"/": page, "/rows": passOn, "/rows/": passOn})
	case "auxiliary":
		go ask(ctx)
		err = serve(ctx, map[string]http.HandlerFunc{"/": counters})
	case "rows":
		err = serveRows(ctx)
	case "postgres":
		err = runPostgres(ctx)
	default:
		err = fmt.Errorf("ROLE is %q; it may be database, api, rows, bot, frontend, auxiliary or postgres", role)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers on port 8080 until the program is told to end; /healthz and /metrics are everybody's.
func serve(ctx context.Context, routes map[string]http.HandlerFunc) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok", version) })
	mux.HandleFunc("/metrics", metrics)
	for path, handler := range routes {
		mux.HandleFunc(path, counted(handler))
	}
	server := &http.Server{Addr: ":8080", Handler: mux, ReadTimeout: patience, WriteTimeout: 2 * patience}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type recorder struct {
	http.ResponseWriter
	code int
}

func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

func counted(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		seen := &recorder{w, http.StatusOK}
		handler(seen, r)
		answers[seen.code%600].Add(1)
	}
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "# HELP http_requests_total Answers by status.\n# TYPE http_requests_total counter")
	for code := range answers {
		if count := answers[code].Load(); count > 0 {
			fmt.Fprintf(w, "http_requests_total{code=\"%d\",version=%s} %d\n", code, strconv.Quote(version), count)
		}
	}
	if highest := highestRow.Load(); highest > 0 {
		fmt.Fprintf(w, "# HELP rows_max The highest row the api told of.\n# TYPE rows_max gauge\nrows_max %d\n", highest)
	}
}

func counters(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "version %s\n", version)
	metrics(w, nil)
}

// order counts one up in the database and says so.
func order(w http.ResponseWriter, _ *http.Request) {
	if fault == "errors" {
		http.Error(w, "version "+version+" is broken", http.StatusInternalServerError)
		return
	}
	number, err := command("INCR orders")
	if err != nil {
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, "{\"version\":%s,\"order\":%s}\n", strconv.Quote(version), number)
}

func databaseReady(w http.ResponseWriter, _ *http.Request) {
	if _, err := command("PING"); err != nil {
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
	}
}

func page(w http.ResponseWriter, _ *http.Request) {
	code, body := get(question)
	if code != http.StatusOK {
		http.Error(w, "the api is not well", http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "<!doctype html><title>Spywatcher</title><h1>Spywatcher %s</h1><pre>%s</pre>\n",
		html.EscapeString(version), html.EscapeString(body))
}

func get(path string) (int, string) {
	answer, err := client.Get("http://" + api + path)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	return answer.StatusCode, string(body)
}

// ask calls the api every second and counts what it answers.
func ask(ctx context.Context) {
	for ctx.Err() == nil {
		code, body := get(question)
		answers[code%600].Add(1)
		remember(code, body)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// command sends one line to the database and returns its answer.
func command(line string) (string, error) {
	connection, err := net.DialTimeout("tcp", database, patience)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(connection, line)
	answer, err := bufio.NewReader(connection).ReadString('\n')
	return strings.TrimSpace(answer), err
}

// serveDatabase keeps numbers and words by name; PING, GET, SET and INCR, a line each.
func serveDatabase(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		listener.Close()
	}()
	var lock sync.Mutex
	store := map[string]string{}
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			lines := bufio.NewScanner(connection)
			for connection.SetDeadline(time.Now().Add(time.Minute)); lines.Scan(); {
				lock.Lock()
				fmt.Fprintln(connection, apply(store, strings.Fields(lines.Text())))
				lock.Unlock()
			}
		}()
	}
}

func apply(store map[string]string, words []string) string {
	switch {
	case len(words) == 1 && words[0] == "PING":
		return "PONG"
	case len(words) == 2 && words[0] == "GET":
		return store[words[1]]
	case len(words) == 3 && words[0] == "SET":
		store[words[1]] = words[2]
		return "OK"
	case len(words) == 2 && words[0] == "INCR":
		number, _ := strconv.Atoi(store[words[1]])
		store[words[1]] = strconv.Itoa(number + 1)
		return store[words[1]]
	}
	return "ERROR"
}
