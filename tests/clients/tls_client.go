// A client over Go's own TLS. Arguments: 1 or 2 (the version of HTTP), the port, the certificate to trust.
// Each line it reads is a request (method, path, length of the body), each line it writes what came of it: status,
// length of the body, nanoseconds.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/ioutil"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	version, port := os.Args[1], os.Args[2]
	trusted, err := ioutil.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:  version == "2",
		DisableCompression: true,
	}
	client := http.Client{Transport: transport}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var method, path string
		var length int
		fmt.Sscan(lines.Text(), &method, &path, &length)
		var body io.Reader
		if length > 0 {
			body = bytes.NewReader(make([]byte, length))
		}
		request, err := http.NewRequest(method, "https://127.0.0.1:"+port+path, body)
		if err != nil {
			log.Fatal(err)
		}
		started := time.Now()
		answer, err := client.Do(request)
		if err != nil {
			log.Fatal(err)
		}
		received, err := io.Copy(ioutil.Discard, answer.Body)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		took := time.Since(started).Nanoseconds()
		if fmt.Sprint(answer.ProtoMajor) != version {
			log.Fatal("spoke ", answer.Proto)
		}
		fmt.Println(answer.StatusCode, received, took)
	}
}
