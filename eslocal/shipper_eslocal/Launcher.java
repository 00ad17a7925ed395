import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one node in this JVM: `Launcher HOME MODULES [EPHEMERAL]`.
 *
 * The official main class refuses root and wants a full JDK; a Node itself does not.
 * With EPHEMERAL the node lives as long as the other end of stdin is open; then it closes and removes that folder.
 */
public final class Launcher {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        LogConfigurator.registerErrorListener();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            Settings.EMPTY, new HashMap<>(Map.of("path.home", args[0])), home.resolve("config"), () -> "local");
        LogConfigurator.setNodeName(environment.settings().get("node.name"));
        LogConfigurator.configure(environment, true);
        PluginsLoader loader = PluginsLoader.createPluginsLoader(
            bundles("loadModulesBundles", Path.of(args[1])),
            bundles("loadPluginsBundles", home.resolve("plugins")),
            Map.of(),
            false);
        Node node = new Node(environment, loader);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        if (args.length > 2) {
            Thread watch = new Thread(() -> endWithParent(node, Path.of(args[2])), "parent-watch");
            watch.setDaemon(true);
            watch.start();
        }
        node.start();
        new CountDownLatch(1).await();
    }

    /** 9.x takes a second argument, 8.19 does not. */
    @SuppressWarnings("unchecked")
    private static Set bundles(String name, Path folder) throws Exception {
        for (Method method : PluginsLoader.class.getMethods()) {
            if (method.getName().equals(name)) {
                return (Set) (method.getParameterCount() == 1 ? method.invoke(null, folder) : method.invoke(null, folder, false));
            }
        }
        throw new NoSuchMethodException(name);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (IOException failure) {
            failure.printStackTrace();
        }
    }

    private static void endWithParent(Node node, Path ephemeral) {
        try {
            while (System.in.read() >= 0) {}
        } catch (IOException gone) {
            // as good as the end
        }
        close(node);
        remove(ephemeral);
        // exit() would run the hook again and, at a first start, write the class archive into the removed folder
        Runtime.getRuntime().halt(0);
    }

    private static void remove(Path folder) {
        try (Stream<Path> found = Files.walk(folder)) {
            for (Path path : found.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(path);
            }
        } catch (IOException | RuntimeException busy) {
            // another node of the cluster still writes there: the last one removes all
        }
    }
}
