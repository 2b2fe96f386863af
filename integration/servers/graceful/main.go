// graceful is a server as short as package graceful makes it: everything that flipexec wants of one is in there.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/flipexec/flipexec/graceful"
)

func main() {
	p, err := graceful.New()
	if err != nil {
		log.Fatal(err)
	}
	l, err := p.Listen("http", "tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	p.Serve(l, &http.Server{Handler: http.HandlerFunc(answer)})
	if err := p.Run(); err != nil {
		log.Fatal(err)
	}
}

func answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Pid", strconv.Itoa(os.Getpid()))
	w.Header().Set("X-Generation", os.Getenv("FLIPEXEC_GENERATION"))
	fmt.Fprintf(w, "ok pid=%d gen=%s\n", os.Getpid(), os.Getenv("FLIPEXEC_GENERATION"))
}
