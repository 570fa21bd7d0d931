import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** gRPC by grpc-java: `serve`, or `call ADDRESS` for the lines of standard input. */
public class Main {
    private static final MethodDescriptor.Marshaller<byte[]> BYTES =
            new MethodDescriptor.Marshaller<>() {
                public InputStream stream(byte[] value) {
                    return new ByteArrayInputStream(value);
                }

                public byte[] parse(InputStream stream) {
                    try {
                        return stream.readAllBytes();
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                }
            };

    private static MethodDescriptor<byte[], byte[]> method(String name) {
        MethodType type = name.equals("List") ? MethodType.SERVER_STREAMING
                : name.equals("Chat") ? MethodType.BIDI_STREAMING : MethodType.UNARY;
        return MethodDescriptor.<byte[], byte[]>newBuilder(BYTES, BYTES)
                .setType(type).setFullMethodName("shop.Echo/" + name).build();
    }

    private static void serve() throws Exception {
        ServerServiceDefinition service = ServerServiceDefinition.builder("shop.Echo")
                .addMethod(method("Unary"), ServerCalls.asyncUnaryCall((request, out) -> {
                    out.onNext(request);
                    out.onCompleted();
                }))
                .addMethod(method("Fail"), ServerCalls.asyncUnaryCall((request, out) ->
                        out.onError(Status.NOT_FOUND.withDescription("no such thing")
                                .asRuntimeException())))
                .addMethod(method("Hang"), ServerCalls.asyncUnaryCall((request, out) -> {}))
                .addMethod(method("List"), ServerCalls.asyncServerStreamingCall((request, out) -> {
                    for (int i = 0; i < 5; i++) out.onNext(new byte[15000]);
                    out.onCompleted();
                }))
                .addMethod(method("Chat"), ServerCalls.asyncBidiStreamingCall(Main::echo))
                .build();
        Server server = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
                .addService(service).build().start();
        System.out.println("listening 127.0.0.1:" + server.getPort());
        server.awaitTermination();
    }

    /** What is sent comes back. */
    private static StreamObserver<byte[]> echo(StreamObserver<byte[]> out) {
        return new StreamObserver<>() {
            public void onNext(byte[] value) {
                out.onNext(value);
            }

            public void onError(Throwable error) {}

            public void onCompleted() {
                out.onCompleted();
            }
        };
    }

    private static CompletableFuture<String> one(Channel channel, String name) {
        CompletableFuture<String> ended = new CompletableFuture<>();
        StreamObserver<byte[]> answers = new StreamObserver<>() {
            public void onNext(byte[] value) {}

            public void onError(Throwable error) {
                ended.complete(name + " " + error.getMessage());
            }

            public void onCompleted() {
                ended.complete("");
            }
        };
        CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(
                name.equals("Hang") ? 50 : 20000, TimeUnit.MILLISECONDS);
        var call = channel.newCall(method(name), options);
        if (name.equals("Chat")) {
            StreamObserver<byte[]> out = ClientCalls.asyncBidiStreamingCall(call, answers);
            for (String word : List.of("a", "b", "c")) out.onNext(word.getBytes());
            out.onCompleted();
        } else if (name.equals("List")) {
            ClientCalls.asyncServerStreamingCall(call, "hello".getBytes(), answers);
        } else {
            ClientCalls.asyncUnaryCall(call, "hello".getBytes(), answers);
        }
        return ended;
    }

    private static void call(String address) throws Exception {
        String[] parts = address.split(":");
        Channel channel = NettyChannelBuilder.forAddress(parts[0], Integer.parseInt(parts[1]))
                .usePlaintext().build();
        System.out.println("listening " + address);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            List<CompletableFuture<String>> all = new ArrayList<>();
            for (int i = 0; i < Integer.parseInt(words[2]); i++) all.add(one(channel, words[1]));
            for (CompletableFuture<String> each : all) {
                if (!each.get().isEmpty()) System.out.println(each.get().split("\n")[0]);
            }
            System.out.println("done");
        }
        System.exit(0);
    }

    public static void main(String[] words) throws Exception {
        if (words[0].equals("serve")) serve();
        else call(words[1]);
    }
}
