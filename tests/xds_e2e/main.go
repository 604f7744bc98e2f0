// Command xds_e2e is a control plane made of go-control-plane for tests: it serves what it is given over ADS, the state
// of the world and delta, and tells what every node said of it.
//
//	POST /snapshot?nodes=a,b   a serialized DiscoveryResponse: its version, and resources of all types
//	GET  /state?node=a         of each type: the versions sent, taken and refused, and when
//	GET  /settled?nodes=a,b    answers once all of them took or refused what there is, or 504 after a while
//	POST /disconnect           ends all streams
//
// The first line that it prints has the ports of gRPC and of this.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const (
	// How long a refusal waits: the cache answers one with the same resources at once, again and again.
	refusalPause = 50 * time.Millisecond
	settleLimit  = 20 * time.Second
	// The cache does not say a resource again to who left it and asks for it once more before anything else was
	// said: after so long without a word of a node, it is taken for told.
	silence    = time.Second
	maxMessage = 256 << 20
)

// typeState is what a node and this server said of one type.
type typeState struct {
	Sent      string `json:"sent"`
	Accepted  string `json:"accepted"`
	Refused   string `json:"refused"`
	Error     string `json:"error"`
	SentNs    int64  `json:"sent_ns"`
	AnswerNs  int64  `json:"answer_ns"`
	Responses int    `json:"responses"`
	Refusals  int    `json:"refusals"`
	// Of a stream of changes: what it was not told yet, though it wants it.
	Untold []string `json:"untold,omitempty"`
	// Of the last response, and whether it was answered.
	nonce    string
	answered bool
}

// wants is what a stream of changes asked for of one type, and in which versions it was told of it.
type wants struct {
	all   bool
	names map[string]bool
	told  map[string]string
}

func (w *wants) wanted(name string) bool { return w.all || w.names[name] }

// untold has what is wanted and was not told in the versions that there are, nor that it went.
func (w *wants) untold(versions map[string]string) []string {
	var names []string
	for name, version := range versions {
		if w.wanted(name) && w.told[name] != version {
			names = append(names, name)
		}
	}
	for name := range w.told {
		if _, is := versions[name]; !is && w.wanted(name) {
			names = append(names, name)
		}
	}
	return names
}

type plane struct {
	mu      sync.Mutex
	changed *sync.Cond
	cache   cache.SnapshotCache
	// The parts of the snapshot that nodes have: a type's version changes only where its resources do.
	parts map[string]map[string][]byte
	// By node and type.
	current map[string]map[string]string
	// By node, type and name: the versions of resources, as streams of changes say them.
	versions map[string]map[string]map[string]string
	// Of each node the last stream of changes, by type.
	changes map[string]map[string]*wants
	streams map[int64]map[string]*wants
	// When anything was last said to or by a node.
	spoken map[string]time.Time
	states map[string]map[string]*typeState
	nodes  map[int64]string
	epoch  chan struct{}
	// Of the last snapshot: what its resources are, by type and bytes, which the next one shares.
	decoded map[string]types.Resource
}

func (p *plane) state(node, typeURL string) *typeState {
	types := p.states[node]
	if types == nil {
		types = map[string]*typeState{}
		p.states[node] = types
	}
	state := types[typeURL]
	if state == nil {
		state = &typeState{answered: true}
		types[typeURL] = state
	}
	return state
}

func (p *plane) heard(stream int64, node *core.Node, typeURL, nonce string, refusal string) {
	now := time.Now().UnixNano()
	p.mu.Lock()
	if node.GetId() != "" {
		p.nodes[stream] = node.GetId()
	}
	p.spoken[p.nodes[stream]] = time.Now()
	state := p.state(p.nodes[stream], typeURL)
	isAnswer := nonce != "" && nonce == state.nonce && !state.answered
	if isAnswer {
		state.answered = true
		state.AnswerNs = now
		if refusal != "" {
			state.Refused, state.Error = state.Sent, refusal
			state.Refusals++
		} else {
			state.Accepted = state.Sent
		}
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	if refusal != "" {
		time.Sleep(refusalPause)
	}
}

func (p *plane) told(stream int64, typeURL, version, nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoken[p.nodes[stream]] = time.Now()
	state := p.state(p.nodes[stream], typeURL)
	state.Sent, state.nonce, state.answered = version, nonce, false
	state.SentNs = time.Now().UnixNano()
	state.Responses++
}

// asked takes down what a stream of changes wants.
func (p *plane) asked(stream int64, request *discovery.DeltaDiscoveryRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	types := p.streams[stream]
	if types == nil {
		types = map[string]*wants{}
		p.streams[stream] = types
	}
	if request.Node.GetId() != "" {
		p.changes[request.Node.GetId()] = types
	}
	of := types[request.TypeUrl]
	if of == nil {
		of = &wants{all: len(request.ResourceNamesSubscribe) == 0, names: map[string]bool{}, told: map[string]string{}}
		types[request.TypeUrl] = of
		for name, version := range request.InitialResourceVersions {
			of.told[name] = version
		}
	}
	for _, name := range request.ResourceNamesSubscribe {
		of.all = of.all || name == "*"
		of.names[name] = true
	}
	for _, name := range request.ResourceNamesUnsubscribe {
		delete(of.names, name)
		delete(of.told, name)
	}
}

func (p *plane) toldChanges(stream int64, response *discovery.DeltaDiscoveryResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.streams[stream][response.TypeUrl]
	if of == nil {
		return
	}
	for _, resource := range response.Resources {
		of.told[resource.Name] = resource.Version
	}
	for _, name := range response.RemovedResources {
		delete(of.told, name)
	}
}

func (p *plane) callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamRequestFunc: func(id int64, request *discovery.DiscoveryRequest) error {
			p.heard(id, request.Node, request.TypeUrl, request.ResponseNonce, request.ErrorDetail.GetMessage())
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discovery.DiscoveryRequest, response *discovery.DiscoveryResponse) {
			p.told(id, response.TypeUrl, response.VersionInfo, response.Nonce)
		},
		StreamDeltaRequestFunc: func(id int64, request *discovery.DeltaDiscoveryRequest) error {
			p.asked(id, request)
			p.heard(id, request.Node, request.TypeUrl, request.ResponseNonce, request.ErrorDetail.GetMessage())
			return nil
		},
		StreamDeltaResponseFunc: func(id int64, _ *discovery.DeltaDiscoveryRequest, response *discovery.DeltaDiscoveryResponse) {
			p.toldChanges(id, response)
			p.told(id, response.TypeUrl, response.SystemVersionInfo, response.Nonce)
		},
		StreamClosedFunc:      func(id int64, _ *core.Node) { p.gone(id) },
		DeltaStreamClosedFunc: func(id int64, _ *core.Node) { p.gone(id) },
	}
}

// gone forgets what a stream was told and did not answer.
func (p *plane) gone(stream int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, state := range p.states[p.nodes[stream]] {
		state.answered = true
	}
	delete(p.nodes, stream)
	delete(p.streams, stream)
	p.changed.Broadcast()
}

// grouped has the resources of a snapshot by type; those that were in the last one are not decoded again.
func (p *plane) grouped(response *discovery.DiscoveryResponse) (map[string][]types.Resource, map[string][]byte, error) {
	grouped, bytes := map[string][]types.Resource{}, map[string][]byte{}
	decoded := make(map[string]types.Resource, len(response.Resources))
	p.mu.Lock()
	last := p.decoded
	p.mu.Unlock()
	for _, packed := range response.Resources {
		key := packed.TypeUrl + string(packed.Value)
		resource := last[key]
		if resource == nil {
			var err error
			if resource, err = packed.UnmarshalNew(); err != nil {
				return nil, nil, err
			}
		}
		decoded[key] = resource
		grouped[packed.TypeUrl] = append(grouped[packed.TypeUrl], resource)
		bytes[packed.TypeUrl] = append(bytes[packed.TypeUrl], packed.Value...)
	}
	p.mu.Lock()
	p.decoded = decoded
	p.mu.Unlock()
	return grouped, bytes, nil
}

func (p *plane) set(response *discovery.DiscoveryResponse, nodes []string) error {
	grouped, bytes, err := p.grouped(response)
	if err != nil {
		return err
	}
	// By type and version, for all nodes.
	made := map[[2]string]cache.Resources{}
	named := map[string]map[string]string{}
	for typeURL, resources := range grouped {
		index := cache.GetResponseType(typeURL)
		if index == types.UnknownType {
			return fmt.Errorf("no type of the cache: %s", typeURL)
		}
		of := &cache.Snapshot{}
		of.Resources[index] = cache.NewResources("", resources)
		if err := of.ConstructVersionMap(); err != nil {
			return err
		}
		named[typeURL] = of.GetVersionMap(typeURL)
	}
	for _, node := range nodes {
		snapshot := &cache.Snapshot{}
		p.mu.Lock()
		before, versions := p.parts[node], p.current[node]
		if versions == nil {
			versions = map[string]string{}
			p.current[node] = versions
		}
		for typeURL, resources := range grouped {
			index := cache.GetResponseType(typeURL)
			if string(before[typeURL]) != string(bytes[typeURL]) {
				versions[typeURL] = response.VersionInfo
			}
			key := [2]string{typeURL, versions[typeURL]}
			if _, is := made[key]; !is {
				made[key] = cache.NewResources(key[1], resources)
			}
			snapshot.Resources[index] = made[key]
		}
		p.parts[node] = bytes
		p.versions[node] = named
		p.spoken[node] = time.Now()
		p.mu.Unlock()
		if err := p.cache.SetSnapshot(context.Background(), node, snapshot); err != nil {
			return err
		}
	}
	return nil
}

// settled tells whether a node answered all that it asked for and there is.
func (p *plane) settled(node string) bool {
	states := p.states[node]
	if len(states) == 0 {
		return false
	}
	if types := p.changes[node]; types != nil {
		for typeURL, of := range types {
			// Of what nobody wants nothing is told, whatever its type's version.
			state := states[typeURL]
			if state == nil || !state.answered {
				return false
			}
			if len(of.untold(p.versions[node][typeURL])) > 0 && time.Since(p.spoken[node]) < silence {
				return false
			}
		}
		return true
	}
	for typeURL, state := range states {
		current := p.current[node][typeURL]
		if !state.answered || (current != "" && state.Sent != current) {
			return false
		}
	}
	return true
}

func (p *plane) waitSettled(nodes []string, limit time.Duration) bool {
	end := time.Now().Add(limit)
	ticker := time.NewTicker(silence / 10)
	defer ticker.Stop()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-ticker.C:
				p.changed.Broadcast()
			case <-done:
				return
			}
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		isDone := true
		for _, node := range nodes {
			isDone = isDone && p.settled(node)
		}
		if isDone || time.Now().After(end) {
			return isDone
		}
		p.changed.Wait()
	}
}

func (p *plane) ServeHTTP(out http.ResponseWriter, request *http.Request) {
	nodes := strings.Split(request.URL.Query().Get("nodes"), ",")
	switch request.URL.Path {
	case "/snapshot":
		var response discovery.DiscoveryResponse
		body, err := io.ReadAll(request.Body)
		if err == nil {
			err = proto.Unmarshal(body, &response)
		}
		if err == nil {
			err = p.set(&response, nodes)
		}
		if err != nil {
			http.Error(out, err.Error(), http.StatusBadRequest)
		}
	case "/state":
		p.mu.Lock()
		defer p.mu.Unlock()
		node := request.URL.Query().Get("node")
		for typeURL, of := range p.changes[node] {
			p.state(node, typeURL).Untold = of.untold(p.versions[node][typeURL])
		}
		_ = json.NewEncoder(out).Encode(p.states[node])
	case "/settled":
		if !p.waitSettled(nodes, settleLimit) {
			http.Error(out, "not settled", http.StatusGatewayTimeout)
		}
	case "/disconnect":
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.epoch)
		p.epoch = make(chan struct{})
	default:
		http.NotFound(out, request)
	}
}

// interceptor ends a stream when all are to end.
func (p *plane) interceptor(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	p.mu.Lock()
	epoch := p.epoch
	p.mu.Unlock()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { done <- handler(service, &within{stream, ctx}) }()
	select {
	case err := <-done:
		return err
	case <-epoch:
		return errors.New("the control plane goes away")
	}
}

type within struct {
	grpc.ServerStream
	ctx context.Context
}

func (w *within) Context() context.Context { return w.ctx }

func listen() (net.Listener, int) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	return listener, listener.Addr().(*net.TCPAddr).Port
}

func main() {
	p := &plane{
		cache:    cache.NewSnapshotCache(false, cache.IDHash{}, nil),
		parts:    map[string]map[string][]byte{},
		current:  map[string]map[string]string{},
		versions: map[string]map[string]map[string]string{},
		changes:  map[string]map[string]*wants{},
		streams:  map[int64]map[string]*wants{},
		spoken:   map[string]time.Time{},
		states:   map[string]map[string]*typeState{},
		nodes:    map[int64]string{},
		epoch:    make(chan struct{}),
	}
	p.changed = sync.NewCond(&p.mu)
	xds, xdsPort := listen()
	control, controlPort := listen()
	serving := grpc.NewServer(
		grpc.StreamInterceptor(p.interceptor), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(
		serving, server.NewServer(context.Background(), p.cache, p.callbacks()),
	)
	go func() { log.Fatal(serving.Serve(xds)) }()
	go func() { log.Fatal(http.Serve(control, p)) }()
	fmt.Println(xdsPort, controlPort)
	// The end of the input is the end of this.
	_, _ = io.Copy(io.Discard, os.Stdin)
}
