// A server on Centrifuge, the library that Centrifugo is made of: clients subscribe to a channel by its JSON protocol, and
// POST /publish?channel=NAME publishes its body there.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"

	"github.com/centrifugal/centrifuge"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address to listen on")
	redis := flag.String("redis", "", "address of Redis; without it the broker is in memory")
	flag.Parse()

	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelError, LogHandler: func(entry centrifuge.LogEntry) {
		log.Println(entry.Message, entry.Fields)
	}})
	fatal(err)
	if *redis != "" {
		shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: *redis})
		fatal(err)
		broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: []*centrifuge.RedisShard{shard}})
		fatal(err)
		node.SetBroker(broker)
	}
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, reply centrifuge.SubscribeCallback) {
			reply(centrifuge.SubscribeReply{}, nil)
		})
	})
	fatal(node.Run())

	sockets := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{UseWriteBufferPool: true})
	http.HandleFunc("/connection/websocket", func(response http.ResponseWriter, request *http.Request) {
		anonymous := centrifuge.SetCredentials(request.Context(), &centrifuge.Credentials{})
		sockets.ServeHTTP(response, request.WithContext(anonymous))
	})
	http.HandleFunc("POST /publish", func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err == nil {
			_, err = node.Publish(request.URL.Query().Get("channel"), body)
		}
		if err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
		}
	})
	fatal(http.ListenAndServe(*listen, nil))
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
