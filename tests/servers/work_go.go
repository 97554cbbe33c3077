// A Go server that calls a cache (raw Redis) and another service as the path says, and writes down what it did.
//
// PORT LOG REDIS OTHER [PROGRAM...]: its port, a file, a port and a URL. Each request takes a connection to Redis from a pool.
// At /become its process goes on as PROGRAM, with PORT, LOG and OTHER behind its arguments.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

type call [3]any

var start = time.Now()

// The monotonic clock, from a beginning of our own: only differences are compared.
func now() int64 { return time.Since(start).Nanoseconds() }

func main() {
	port, logFile, redis, other := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	file, err := os.OpenFile(logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	var writing sync.Mutex
	pool := make(chan *bufio.ReadWriter, 64)
	take := func() *bufio.ReadWriter {
		select {
		case connection := <-pool:
			return connection
		default:
			connection, err := net.Dial("tcp", "127.0.0.1:"+redis)
			if err != nil {
				panic(err)
			}
			return bufio.NewReadWriter(bufio.NewReader(connection), bufio.NewWriter(connection))
		}
	}
	get := func(key string) {
		connection := take()
		fmt.Fprintf(connection, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
		connection.Flush()
		if line, err := connection.ReadString('\n'); err != nil || line != "$-1\r\n" {
			panic(line)
		}
		pool <- connection
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	ask := func() {
		answer, err := client.Get(other)
		if err != nil {
			panic(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	http.HandleFunc("/work/", func(response http.ResponseWriter, request *http.Request) {
		parts := strings.Split(request.URL.Path, "/")
		caches, _ := strconv.Atoi(parts[3])
		externals, _ := strconv.Atoi(parts[4])
		calls := []call{}
		timed := func(kind string, what func()) {
			began := now()
			what()
			calls = append(calls, call{kind, began, now()})
		}
		for turn := 0; turn < max(caches, externals); turn++ {
			if turn < caches {
				timed("cache", func() { get("key" + strconv.Itoa(turn)) })
			}
			if turn < externals {
				timed("external", ask)
			}
		}
		line, _ := json.Marshal(map[string]any{"id": request.Header.Get("x-request-id"), "calls": calls})
		writing.Lock()
		file.Write(append(line, '\n'))
		writing.Unlock()
		fmt.Fprint(response, "done")
	})
	http.HandleFunc("/become", func(http.ResponseWriter, *http.Request) {
		next := append(os.Args[5:], port, logFile, other)
		panic(syscall.Exec(next[0], next, os.Environ()))
	})
	panic(http.ListenAndServe("127.0.0.1:"+port, nil))
}
