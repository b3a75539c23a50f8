package main

import (
	"errors"
	"io"
	"net"
	"os"
)

// relay carries connections from a listening socket that it inherits as file 3 to an address
// of the network namespace it runs in, so that the API server of a node that nobody outside
// can reach still listens on the machine's loopback. io.Copy splices in the kernel.
func relay(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: relay ADDRESS, with a listening socket as file 3")
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			return err
		}
		go carry(near, args[0])
	}
}

func carry(near net.Conn, address string) {
	defer near.Close()
	far, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer far.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(far, near)
		far.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	io.Copy(near, far)
	near.(*net.TCPConn).CloseWrite()
	<-done
}
