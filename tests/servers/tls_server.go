// A server over Go's own TLS, with HTTP/2 where the client offers it. Arguments: the port, the certificate, its key.
// Paths: see `site.rs`. Writes each request on a line.
package main

import (
	"bytes"
	"fmt"
	"io"
	"io/ioutil"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

type page struct {
	status int
	body   []byte
}

func main() {
	pages := map[string]page{
		"/hello":   {200, []byte("hello\n")},
		"/empty":   {200, nil},
		"/page":    {200, bytes.Repeat([]byte("p"), 20000)},
		"/large":   {200, bytes.Repeat([]byte("l"), 1048576)},
		"/fail":    {500, []byte("failed\n")},
		"/gone":    {410, []byte("gone\n")},
		"/nothing": {204, nil},
		"/upload":  {201, []byte("stored\n")},
		"/slow":    {200, []byte("slow\n")},
	}
	handler := func(answer http.ResponseWriter, request *http.Request) {
		received, _ := io.Copy(ioutil.Discard, request.Body)
		if request.URL.Path == "/slow" {
			time.Sleep(50 * time.Millisecond)
		}
		found, there := pages[request.URL.Path]
		if !there {
			found = page{404, []byte("missing\n")}
		}
		fmt.Println(request.Method, request.URL.Path, found.status, received)
		// Clients of HTTP/2 that are told a length do not wait for the frame that ends the stream.
		if found.status != 204 && request.ProtoMajor == 1 {
			answer.Header().Set("Content-Length", strconv.Itoa(len(found.body)))
		}
		answer.WriteHeader(found.status)
		if request.ProtoMajor == 2 {
			answer.(http.Flusher).Flush() // else Go tells it by itself
		}
		if request.Method != "HEAD" {
			answer.Write(found.body)
		}
	}
	server := http.Server{Addr: "127.0.0.1:" + os.Args[1], Handler: http.HandlerFunc(handler), ErrorLog: log.New(ioutil.Discard, "", 0)}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
