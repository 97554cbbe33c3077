// A server whose function is observed, and which writes down itself how often and how long it was in it. /work/N calls
// worked N times; /log tells how often it was called and how long it took in all, nanoseconds,
// as its caller sees it, and from its own first line to its last.
package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

var calls, took, inside atomic.Int64

// Its stack grows while it sleeps and goes on, perhaps on another thread.
//
//go:noinline
func worked(round int) int {
	began := time.Now()
	time.Sleep(time.Duration(round%5) * time.Millisecond)
	sum := grown(200) + round
	inside.Add(int64(time.Since(began)))
	return sum
}

//go:noinline
func grown(further int) int {
	var room [256]byte
	room[further%256] = byte(further)
	if further == 0 {
		return int(room[0])
	}
	return grown(further-1) + int(room[1])
}

func main() {
	http.HandleFunc("/work/", func(w http.ResponseWriter, r *http.Request) {
		count, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/work/"))
		for round := 0; round < count; round++ {
			began := time.Now()
			worked(round)
			took.Add(int64(time.Since(began)))
			calls.Add(1)
		}
	})
	http.HandleFunc("/log", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "worked %d %d\ninside %d %d\n", calls.Load(), took.Load(), calls.Load(), inside.Load())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, nil))
}
