// A Java service that asks a database by JDBC, in statements that name the request.
//
//   JdbcTarget URL USER PASSWORD
//
// /own/N queries in the thread that serves, /handed/N in one of a pool, each from a pool of four
// connections. Prints `listening HOST:PORT`.
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class JdbcTarget {
  static final BlockingQueue<Connection> connections = new ArrayBlockingQueue<>(4);

  static Void query(String number) throws Exception {
    Connection connection = connections.take();
    try (Statement plain = connection.createStatement();
        PreparedStatement prepared =
            connection.prepareStatement("SELECT ? AS prepared_" + number)) {
      plain.executeQuery("SELECT 1 AS id_" + number).close();
      prepared.setInt(1, 7);
      try (ResultSet rows = prepared.executeQuery()) {
        rows.next();
      }
    } finally {
      connections.put(connection);
    }
    return null;
  }

  public static void main(String[] words) throws Exception {
    for (int n = 0; n < 4; n++) {
      connections.add(DriverManager.getConnection(words[0], words[1], words[2]));
    }
    ExecutorService callers = Executors.newFixedThreadPool(4);
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 1024);
    server.setExecutor(Executors.newFixedThreadPool(16));
    server.createContext("/", exchange -> {
      String[] path = exchange.getRequestURI().getPath().split("/");
      int status = 200;
      try {
        if (path[1].equals("own")) query(path[2]);
        else callers.submit(() -> query(path[2])).get();
      } catch (Exception error) {
        error.printStackTrace();
        status = 500;
      }
      exchange.sendResponseHeaders(status, 2);
      exchange.getResponseBody().write("ok".getBytes());
      exchange.close();
    });
    server.start();
    System.out.println("listening 127.0.0.1:" + server.getAddress().getPort());
  }
}
