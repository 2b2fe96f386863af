package activation_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/flipexec/flipexec/activation"
)

// A server that is started with --listen http=tcp::80, or by a .socket unit with
// FileDescriptorName=http.
func ExampleTake() {
	passed, err := activation.Take()
	if err != nil {
		log.Fatal(err)
	}
	l, err := passed.Listener("http")
	if err != nil {
		log.Fatal(err)
	}
	passed.Close() // what we know no use for
	log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	})))
}
