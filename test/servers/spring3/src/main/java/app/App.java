package app;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.*;

/** The application behind the proxy, in Spring MVC. */
@SpringBootApplication
@RestController
public class App {
  public static void main(String[] args) {
    SpringApplication.run(App.class, args);
  }

  static Map<String, Object> says(String handler) {
    return Collections.singletonMap("handler", handler);
  }

  static Map<String, Object> says(String handler, String value) {
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("handler", handler);
    answer.put("value", value);
    return answer;
  }

  @RequestMapping("/")
  Map<String, Object> root() { return says("root"); }

  @RequestMapping("/admin")
  Map<String, Object> admin() { return says("admin"); }

  @RequestMapping("/admin/users/{id}")
  Map<String, Object> user(@PathVariable String id) { return says("user", id); }

  @GetMapping("/items")
  Map<String, Object> items(@RequestParam(required = false) String workspace) { return says("items", workspace); }

  @GetMapping("/orders")
  Map<String, Object> orders(@RequestParam(name = "workspace_id", required = false) String workspace) { return says("orders", workspace); }

  @GetMapping("/hdr")
  Map<String, Object> hdr(@RequestHeader(name = "X-Org", required = false) String org) { return says("hdr", org); }

  @RequestMapping("/w/{ws}")
  Map<String, Object> workspace(@PathVariable String ws) { return says("workspace", ws); }

  @RequestMapping("/files/{name}")
  Map<String, Object> file(@PathVariable String name) { return says("file", name); }

  @GetMapping("/public/{name}")
  Map<String, Object> open(@PathVariable String name) { return says("public", name); }

  @PostMapping("/things/{id}")
  Map<String, Object> update(@PathVariable String id) { return says("update", id); }

  @DeleteMapping("/things/{id}")
  Map<String, Object> delete(@PathVariable String id) { return says("delete", id); }

  @DeleteMapping("/posts/{id}")
  Map<String, Object> unpublish(@PathVariable String id) { return says("unpublish", id); }

  @RequestMapping("/exports")
  Map<String, Object> exports() { return says("exports"); }

}
