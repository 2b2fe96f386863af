package graceful_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/flipexec/flipexec/graceful"
)

// A server for flipexec --listen http=tcp::80, which serves at :8080 without it.
func Example() {
	p, err := graceful.New()
	if err != nil {
		log.Fatal(err)
	}
	l, err := p.Listen("http", "tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	p.Serve(l, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	})})
	if err := p.Run(); err != nil {
		log.Fatal(err)
	}
}
