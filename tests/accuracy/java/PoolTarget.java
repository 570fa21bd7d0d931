// A Java service of the accuracy harness, with the JDK's own classes alone.
//
// Serves the calls of a plan and makes the calls below them in the way the plan names, with
// the truth headers that tests/accuracy/target/main.go describes. Requests are served by a fixed
// pool of threads, or by virtual threads ("virtual" as the only argument).
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;

public class PoolTarget {
  static volatile Map<String, Object> services, nodes = Map.of();
  static ExecutorService callers;
  static HttpClient client;

  @SuppressWarnings("unchecked")
  static Map<String, Object> node(String name) {
    return (Map<String, Object>) nodes.get(name);
  }

  static int number(Map<String, Object> node, String member) {
    return node.get(member) instanceof Double value ? value.intValue() : 0;
  }

  static byte[] body(Map<String, Object> node) {
    return Boolean.TRUE.equals(node.get("post")) ? "body ".repeat(60).getBytes() : new byte[0];
  }

  static HttpRequest request(String child, String parent) {
    Map<String, Object> node = node(child);
    byte[] body = body(node);
    return HttpRequest.newBuilder(address(child))
        .header("X-Truth-Id", child).header("X-Truth-Parent", parent)
        .method(body.length > 0 ? "POST" : "GET", body.length > 0
            ? HttpRequest.BodyPublishers.ofByteArray(body) : HttpRequest.BodyPublishers.noBody())
        .build();
  }

  static URI address(String child) {
    return URI.create("http://" + services.get(node(child).get("service")) + "/call/" + child);
  }

  static Void call(String transport, String child, String parent) throws Exception {
    Map<String, Object> node = node(child);
    int pause = number(node, "before_ms");
    if (pause > 0) Thread.sleep(ThreadLocalRandom.current().nextInt(pause + 1));
    int status;
    if (transport.equals("client")) {
      status = client.send(request(child, parent), HttpResponse.BodyHandlers.ofString()).statusCode();
    } else {
      HttpURLConnection connection = (HttpURLConnection) address(child).toURL().openConnection();
      connection.setRequestProperty("X-Truth-Id", child);
      connection.setRequestProperty("X-Truth-Parent", parent);
      byte[] body = body(node);
      if (body.length > 0) {
        connection.setDoOutput(true);
        try (OutputStream out = connection.getOutputStream()) {
          out.write(body);
        }
      }
      status = connection.getResponseCode();
      try (InputStream in = connection.getInputStream()) {
        in.readAllBytes();
      }
    }
    if (status != 200) throw new IOException("call " + child + ": status " + status);
    return null;
  }

  @SuppressWarnings("unchecked")
  static void perform(Map<String, Object> node, String name) throws Exception {
    String transport = (String) node.get("transport");
    List<Object> calls = (List<Object>) node.get("calls");
    String mode = (String) node.get("mode");
    if (mode.equals("sequential")) {
      for (Object child : calls) call(transport, (String) child, name);
    } else if (mode.equals("submitted")) {
      for (Object child : calls) callers.submit(() -> call(transport, (String) child, name)).get();
    } else if (mode.equals("executor")) {
      List<Future<Void>> futures = new ArrayList<>();
      for (Object child : calls) {
        futures.add(callers.submit(() -> call(transport, (String) child, name)));
      }
      for (Future<Void> future : futures) future.get();
    } else if (mode.equals("async")) {
      List<CompletableFuture<HttpResponse<String>>> futures = new ArrayList<>();
      for (Object child : calls) {
        futures.add(client.sendAsync(request((String) child, name), HttpResponse.BodyHandlers.ofString()));
      }
      for (CompletableFuture<HttpResponse<String>> future : futures) {
        if (future.join().statusCode() != 200) throw new IOException("a call failed");
      }
    } else {
      throw new IllegalArgumentException("unknown mode " + mode);
    }
  }

  record Answer(int status, String text) {}

  static Answer answer(String path, byte[] body) {
    if (path.equals("/load")) {
      load(new String(body, StandardCharsets.UTF_8));
      return new Answer(200, String.valueOf(nodes.size()));
    }
    if (path.equals("/pending")) return new Answer(200, "0 0");
    String name = path.substring("/call/".length());
    Map<String, Object> node = node(name);
    try {
      if (number(node, "sleep_ms") > 0) Thread.sleep(number(node, "sleep_ms"));
      perform(node, name);
    } catch (Exception error) {
      System.err.println("call " + name + ": " + error);
      return new Answer(500, name);
    }
    return new Answer(200, name);
  }

  static void serve(HttpExchange exchange) throws IOException {
    byte[] body = exchange.getRequestBody().readAllBytes();
    Answer said = answer(exchange.getRequestURI().getPath(), body);
    byte[] text = said.text().getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(said.status(), text.length);
    exchange.getResponseBody().write(text);
    exchange.close();
  }

  @SuppressWarnings("unchecked")
  static void load(String text) {
    Map<String, Object> plan = (Map<String, Object>) new Json(text).value();
    services = (Map<String, Object>) plan.get("services");
    nodes = (Map<String, Object>) plan.get("nodes");
  }

  /** Makes ready who calls, and returns who may serve. */
  static ExecutorService prepare(boolean virtual) throws ReflectiveOperationException {
    client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    if (virtual) {
      // Not there before Java 21; the source is compiled with older ones too.
      var perTask = Executors.class.getMethod("newVirtualThreadPerTaskExecutor");
      callers = (ExecutorService) perTask.invoke(null);
      return (ExecutorService) perTask.invoke(null);
    }
    callers = Executors.newFixedThreadPool(8);
    return Executors.newFixedThreadPool(16);
  }

  public static void main(String[] arguments) throws IOException, ReflectiveOperationException {
    ExecutorService servers = prepare(arguments.length > 0 && arguments[0].equals("virtual"));
    HttpServer server = HttpServer.create(
        new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 1024);
    server.createContext("/", PoolTarget::serve);
    server.setExecutor(servers);
    server.start();
    System.out.println("listening 127.0.0.1:" + server.getAddress().getPort());
  }
}
