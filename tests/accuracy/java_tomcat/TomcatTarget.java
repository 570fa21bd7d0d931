// The Java service of the accuracy harness in an embedded Tomcat, with its own threads.
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

public class TomcatTarget extends HttpServlet {
  @Override
  protected void service(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    byte[] body = request.getInputStream().readAllBytes();
    PoolTarget.Answer said = PoolTarget.answer(request.getRequestURI(), body);
    byte[] text = said.text().getBytes(StandardCharsets.UTF_8);
    response.setStatus(said.status());
    response.setContentLength(text.length);
    response.getOutputStream().write(text);
  }

  public static void main(String[] arguments) throws Exception {
    PoolTarget.prepare(false);
    Tomcat tomcat = new Tomcat();
    File home = Files.createTempDirectory("tomcat-target").toFile();
    tomcat.setBaseDir(home.getPath());
    tomcat.setPort(0);
    tomcat.getConnector().setProperty("address", "127.0.0.1");
    tomcat.getConnector().setProperty("maxThreads", "16");
    tomcat.getConnector().setMaxPostSize(-1);
    Context context = tomcat.addContext("", home.getPath());
    Tomcat.addServlet(context, "calls", new TomcatTarget());
    context.addServletMappingDecoded("/*", "calls");
    tomcat.start();
    System.out.println("listening 127.0.0.1:" + tomcat.getConnector().getLocalPort());
    tomcat.getServer().await();
  }
}
