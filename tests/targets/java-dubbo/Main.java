package shop;

import com.sun.net.httpserver.HttpServer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.MethodConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.service.GenericService;

/** Dubbo 2 without a registry: serve PORT, calls PORT, front PORT, any PORT, ask PORT. Each waits for lines. */
public class Main {
    static final Map<String, Integer> counted = new ConcurrentHashMap<>();
    static final BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));

    static class Sells implements Shop {
        public long price(String name, int count) throws NotFound {
            counted.merge("price", 1, Integer::sum);
            if (name.equals("unicorn")) throw new NotFound("secret-unicorn");
            if (name.equals("broken")) throw new IllegalStateException("secret-broken");
            return count * 3L;
        }

        public String ping() {
            counted.merge("ping", 1, Integer::sum);
            return "secret-pong";
        }

        public void note(String text) {
            counted.merge("note", 1, Integer::sum);
        }

        public String slow(int milliseconds) {
            counted.merge("slow", 1, Integer::sum);
            try {
                Thread.sleep(milliseconds);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
            return "done";
        }

        public String echo(String text) {
            counted.merge("echo", 1, Integer::sum);
            return text;
        }
    }

    static DubboBootstrap bootstrap() {
        ApplicationConfig application = new ApplicationConfig("shop");
        application.setQosEnable(false);
        return DubboBootstrap.getInstance().application(application)
                .registry(new RegistryConfig("N/A"));
    }

    static void serve(int port) throws Exception {
        ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
        protocol.setHost("127.0.0.1");
        ServiceConfig<Shop> service = new ServiceConfig<>();
        service.setInterface(Shop.class);
        service.setRef(new Sells());
        ServiceConfig<Shop> newer = new ServiceConfig<>();
        newer.setInterface(Shop.class);
        newer.setRef(new Sells());
        newer.setVersion("2.1.0");
        bootstrap().protocol(protocol).service(service).service(newer).start();
        System.out.println("ready");
        while (lines.readLine() != null) System.out.println(new TreeMap<>(counted));
    }

    /** Every method; those whose names begin with bad fail. */
    static void any(int port) throws Exception {
        ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
        protocol.setHost("127.0.0.1");
        ServiceConfig<GenericService> service = new ServiceConfig<>();
        service.setInterface("shop.Mix");
        service.setGeneric("true");
        service.setRef((method, types, given) -> {
            if (method.startsWith("bad")) throw new IllegalStateException("as it was meant");
            return given[0];
        });
        bootstrap().protocol(protocol).service(service).start();
        System.out.println("ready");
        while (lines.readLine() != null) System.out.println("{}");
    }

    /** Calls the method that each line names, several at a time. */
    static void ask(int port) throws Exception {
        bootstrap().start();
        ReferenceConfig<GenericService> made =
                reference(GenericService.class, port, null, "serialization=hessian2");
        made.setUrl("dubbo://127.0.0.1:" + port + "/shop.Mix?serialization=hessian2");
        made.setInterface("shop.Mix");
        made.setGeneric("true");
        GenericService mix = made.get();
        ExecutorService pool = Executors.newFixedThreadPool(8);
        System.out.println("ready");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String name = line;
            pool.submit(() -> {
                String said = "ok";
                try {
                    mix.$invoke(name, new String[] {"java.lang.String"}, new Object[] {name});
                } catch (RuntimeException error) {
                    said = "bad";
                }
                System.out.println(name + " " + said);
            });
        }
        System.exit(0);
    }

    static <T> ReferenceConfig<T> reference(Class<T> service, int port, String version, String more) {
        ReferenceConfig<T> made = new ReferenceConfig<>();
        made.setInterface(service);
        made.setUrl("dubbo://127.0.0.1:" + port + "/" + service.getName() + "?" + more);
        if (version != null) made.setVersion(version);
        made.setTimeout(30000);
        made.setRetries(0);
        made.setCheck(false);
        made.setScope("remote");
        return made;
    }

    static void fails(Runnable work, Class<?> why) {
        try {
            work.run();
        } catch (RuntimeException error) {
            if (!why.isInstance(error)) throw error;
            return;
        }
        throw new IllegalStateException("it did not fail");
    }

    static void price(Shop shop, String name, int count) {
        try {
            if (shop.price(name, count) != count * 3L) throw new Error("another call's answer");
            if (name.equals("unicorn")) throw new Error("a unicorn");
        } catch (NotFound error) {
            if (!name.equals("unicorn")) throw new Error(error);
        }
    }

    static Shop shop(int port) {
        ReferenceConfig<Shop> made = reference(Shop.class, port, null, "serialization=hessian2");
        MethodConfig note = new MethodConfig();
        note.setName("note");
        note.setReturn(false);
        made.setMethods(List.of(note));
        return made.get();
    }

    static void calls(int port) throws Exception {
        bootstrap().start();
        lines.readLine();
        Shop shop = shop(port);
        for (int call = 0; call < 5; call++) price(shop, "secret-lamp", call);
        price(shop, "unicorn", 1);
        fails(() -> price(shop, "broken", 1), IllegalStateException.class);
        shop.note("secret-note");
        shop.ping();
        if (shop.echo("secret".repeat(20000)).length() != 120000) throw new Error("echo");
        reference(Shop.class, port, "2.1.0", "serialization=hessian2").get().ping();
        Shop json = reference(Shop.class, port, null, "serialization=fastjson2").get();
        price(json, "secret-lamp", 7);
        json.ping();
        Absent absent = reference(Absent.class, port, null, "serialization=hessian2").get();
        fails(absent::ping, RuntimeException.class);
        ReferenceConfig<GenericService> any =
                reference(GenericService.class, port, null, "serialization=hessian2");
        any.setUrl("dubbo://127.0.0.1:" + port + "/shop.Shop?serialization=hessian2");
        any.setInterface("shop.Shop");
        any.setGeneric("true");
        any.get().$invoke("ping", new String[0], new Object[0]);
        // Many at once on one connection, the slow ones first.
        ExecutorService pool = Executors.newFixedThreadPool(16);
        for (int at = 0; at < 200; at++) {
            int number = at;
            pool.submit(() -> {
                if (number % 4 == 0) shop.slow(20);
                else price(shop, number % 4 == 1 ? "unicorn" : "secret", number);
            });
        }
        pool.shutdown();
        if (!pool.awaitTermination(60, TimeUnit.SECONDS)) throw new Error("too slow");
        System.out.println("done");
        lines.readLine();
        System.exit(0);
    }

    /** HTTP: /ping, /price and so on call that method. */
    static void front(int port) throws Exception {
        bootstrap().start();
        Shop shop = shop(port);
        shop.ping();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 64);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            String what = exchange.getRequestURI().getPath().substring(1);
            if (what.equals("ping")) shop.ping();
            else if (what.equals("price")) price(shop, "lamp", 1);
            else if (what.equals("slow")) shop.slow(5);
            else shop.echo(what);
            exchange.sendResponseHeaders(204, -1);
            exchange.close();
        });
        server.start();
        System.out.println(server.getAddress().getPort());
    }

    public static void main(String[] words) throws Exception {
        int port = Integer.parseInt(words[1]);
        if (words[0].equals("serve")) serve(port);
        else if (words[0].equals("calls")) calls(port);
        else if (words[0].equals("any")) any(port);
        else if (words[0].equals("ask")) ask(port);
        else front(port);
    }
}
