// The api on a real database: numbered rows, each with a checksum, acknowledged when they are committed.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	table = `create table if not exists rows
		(n bigint primary key, body text not null, sum text not null, at timestamptz not null default now())`
	write   = "insert into rows (n, body, sum) values ($1, $2, $3) on conflict (n) do nothing"
	summary = "select coalesce(max(n), 0), count(*) from rows"
	missing = `select wanted from generate_series($1::bigint, $2::bigint) as wanted
		where not exists (select from rows where n = wanted) order by wanted`
	mostRows = 1_000_000
)

var highestRow atomic.Int64

type rows struct{ pool *pgxpool.Pool }

// serveRows is the api. Where the database is, and as whom it is asked, say libpq's variables (PGHOST and so on).
func serveRows(ctx context.Context) error {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return err
	}
	config.MaxConns = 8
	// A Service may be pointed at another server: connections move there by themselves, soon.
	config.MaxConnLifetime, config.MaxConnLifetimeJitter = 5*time.Second, time.Second
	config.ConnConfig.ConnectTimeout = patience
	// No prepared statements: they do not outlive a table that a restore drops and makes anew.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	here := rows{pool}
	go here.makeTable(ctx)
	return serve(ctx, map[string]http.HandlerFunc{
		"POST /rows": here.write, "GET /rows/max": here.max, "GET /rows/missing": here.missing, "GET /readyz": here.ready,
	})
}

// makeTable makes the table once, as soon as the database answers; a table that goes later is a fault, not a wish.
func (r rows) makeTable(ctx context.Context) {
	for ctx.Err() == nil {
		soon, cancel := context.WithTimeout(ctx, patience)
		_, err := r.pool.Exec(soon, table)
		cancel()
		if err == nil {
			return
		}
		log.Print("waiting for the database: ", err)
		time.Sleep(500 * time.Millisecond)
	}
}

// write answers 201 only when the row is committed; the same number again is the same row.
func (r rows) write(w http.ResponseWriter, q *http.Request) {
	n, err := strconv.ParseInt(q.FormValue("n"), 10, 64)
	if err != nil || n < 1 {
		http.Error(w, "n must be a number from 1 on", http.StatusBadRequest)
		return
	}
	r.answer(w, q, http.StatusCreated, func(ctx context.Context) (any, error) {
		body := fmt.Sprintf("row %d", n)
		sum := sha256.Sum256([]byte(fmt.Sprintf("%d:%s", n, body)))
		_, err := r.pool.Exec(ctx, write, n, body, hex.EncodeToString(sum[:]))
		return map[string]any{"n": n}, err
	})
}

func (r rows) max(w http.ResponseWriter, q *http.Request) {
	r.answer(w, q, http.StatusOK, func(ctx context.Context) (any, error) {
		var highest, count int64
		err := r.pool.QueryRow(ctx, summary).Scan(&highest, &count)
		return map[string]any{"max": highest, "count": count, "version": version}, err
	})
}

// missing names the numbers in from..to that are not there.
func (r rows) missing(w http.ResponseWriter, q *http.Request) {
	from, err := strconv.ParseInt(q.FormValue("from"), 10, 64)
	to, fault := strconv.ParseInt(q.FormValue("to"), 10, 64)
	if err != nil || fault != nil || to-from >= mostRows {
		http.Error(w, fmt.Sprintf("from and to must be numbers less than %d apart", mostRows), http.StatusBadRequest)
		return
	}
	r.answer(w, q, http.StatusOK, func(ctx context.Context) (any, error) {
		found, err := r.pool.Query(ctx, missing, from, to)
		if err != nil {
			return nil, err
		}
		numbers, err := pgx.CollectRows(found, pgx.RowTo[int64])
		return map[string]any{"from": from, "to": to, "missing": numbers}, err
	})
}

func (r rows) ready(w http.ResponseWriter, q *http.Request) {
	r.answer(w, q, http.StatusOK, func(ctx context.Context) (any, error) {
		_, err := r.pool.Exec(ctx, "select from rows limit 1")
		return "ready", err
	})
}

// answer asks the database with a deadline; 503 where it does not answer, or not well.
func (r rows) answer(w http.ResponseWriter, q *http.Request, code int, ask func(context.Context) (any, error)) {
	if fault == "errors" {
		http.Error(w, "version "+version+" is broken", http.StatusInternalServerError)
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), patience)
	defer cancel()
	found, err := ask(ctx)
	if err != nil {
		log.Print(q.Method, " ", q.URL.Path, ": ", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(found)
}

// passOn is the frontend's way to the api for rows.
func passOn(w http.ResponseWriter, q *http.Request) {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: api})
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, "the api is not well", http.StatusBadGateway)
	}
	proxy.ServeHTTP(w, q)
}

// remember keeps the highest row, for /metrics.
func remember(code int, body string) {
	var told struct{ Max int64 }
	if code == http.StatusOK && json.Unmarshal([]byte(body), &told) == nil {
		highestRow.Store(told.Max)
	}
}
